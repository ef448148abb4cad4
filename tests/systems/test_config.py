import json
import pathlib

import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.base.options import option_type, options
from btjax.systems.config import Config, config_groups
from btjax.systems.presets import preset, preset_names
from btjax.systems.system import System, find_system, system_names

FLAGS = pathlib.Path(__file__).resolve().parents[2] / "experiments" / "flags"
SYSTEMS = ("cnn", "encoder_classifier", "unet", "vgg16")


def test_every_system_has_a_file_of_its_own():
    assert set(SYSTEMS) <= set(system_names())
    for name in SYSTEMS:
        system = find_system(name)
        assert isinstance(system, System) and system.name == name
        assert len(system.reference) > 20 and system.claims


def test_a_system_that_is_not_there_is_one_line_with_those_that_are():
    with pytest.raises(InputError, match=r"system 'resnet': expected one of .*cnn, .*encoder_classifier"):
        find_system("resnet")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_config_survives_json(system):
    config = Config.default(system).with_classes(("a", "b", "c", "d"))
    again = Config.from_json(json.loads(json.dumps(config.to_json())), "config.json")
    assert again == config


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_option_has_help_a_known_type_and_a_name_of_its_own(system):
    seen = {}
    for kind in config_groups(system).values():
        for name, field in options(kind).items():
            value_type, element_type = option_type(kind, name)
            assert value_type in (bool, int, float, str, tuple), name
            assert (element_type is not None) == (value_type is tuple)
            assert isinstance(field.default, value_type), name
            assert len(field.metadata["help"]) > 10
            assert name not in seen, f"{name} is an option of {seen[name]} and {kind}"
            seen[name] = kind


def test_replace_changes_one_option_and_checks_it():
    config = Config.default("cnn")
    assert config.replace("training.epochs", 3).training.epochs == 3
    assert config.replace("model.widths", (4,)).model.widths == (4,)
    assert config.replace("seed", 7).seed == 7 and config.seed == 0
    numbers = config.replace("seed", np.int64(7)).replace("model.dropout", np.float64(0.25))
    numbers = numbers.replace("model.widths", (np.int32(4), 8))
    found = (numbers.seed, numbers.model.dropout, *numbers.model.widths)
    assert found == (7, 0.25, 4, 8) and [type(one) for one in found] == [int, float, int, int]
    for name, value, message in [
        ("training.epoch", 3, "no such option"),
        ("data.data_dir", "/mnt/T\udce9te", r"data.data_dir is '/mnt/T\\udce9te', expected text in UTF-8"),
        ("epochs", 3, "no such option"),
        ("training.epochs", 0, "expected at least 1"),
        ("training.epochs", "3", "expected int"),
        ("seed", -1, "expected an integer from 0"),
        ("seed", True, "expected an integer from 0"),
    ]:
        with pytest.raises(InputError, match=message):
            config.replace(name, value)


def test_the_split_has_a_seed_of_its_own_or_the_runs():
    config = Config.default("cnn").replace("seed", 3)
    assert config.split_seed == 3
    assert config.replace("data.split_seed", 0).split_seed == 0


def test_a_model_that_classifies_gets_a_logit_for_each_class():
    four = Config.default("cnn").with_classes(("a", "b", "c", "d"))
    assert four.model.classes == 4 and four.classes == ("a", "b", "c", "d")
    assert Config.default("unet").with_classes(("a", "b")).classes == ("a", "b")


def test_a_config_of_the_first_schema_is_read():
    values = Config.default("vgg16").to_json()
    former = {key: value for key, value in values.items() if key not in ("schema", "system", "classes", "extra")}
    former |= {"experiment": "vgg16", "transfer": values["extra"], "split": "0123456789abcdef"}
    del former["data"]["split_seed"]
    assert Config.from_json(former, "config.json") == Config.default("vgg16")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 3}, "schema 3, expected 2 or 1"),
        ({"system": "resnet"}, "system is 'resnet'"),
        ({"system": ["cnn"]}, r"system is \['cnn'\]"),
        ({"seed": "0"}, "seed is '0'"),
        ({"seed": True}, "seed is True"),
        ({"seed": -1}, "seed is -1"),
        ({"classes": ["a"]}, "expected two or more different names"),
        ({"classes": ["a", "a"]}, "expected two or more different names"),
        ({"classes": "abc"}, "expected two or more different names"),
        ({"training": []}, "found list, expected options by name"),
        ({"training": {"epochs": 0}}, "expected at least 1"),
        ({"training": {"epoch": 1}}, "unknown options"),
        ({"colour": "red"}, "unknown keys: colour"),
    ],
)
def test_a_config_that_is_damaged_is_one_clear_line(change, message):
    with pytest.raises(InputError, match=message) as caught:
        Config.from_json(Config.default("cnn").to_json() | change, "runs/x/config.json")
    assert str(caught.value).startswith("runs/x/config.json") and "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [[], None, 3, "cnn", {}])
def test_what_is_no_config_at_all_is_one_clear_line(values):
    with pytest.raises(InputError, match=r"x\.json"):
        Config.from_json(values, "x.json")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_config_of_its_system(name):
    config = preset(name)
    assert name == config.system or name.startswith(f"{config.system}_")
    text = (FLAGS / f"{name}.flags").read_text()
    for line in (line for line in text.splitlines() if line.startswith("--epochs=")):
        assert config.training.epochs == int(line.partition("=")[2])
    assert f"--flagfile=experiments/flags/{name}.flags" in text.splitlines()[0]


def test_a_preset_says_what_is_wrong_with_it(tmp_path):
    with pytest.raises(InputError, match="preset 'resnet_cpu': not found, expected one of cheng2015"):
        preset("resnet_cpu")
    for text, message in [
        ("--epochs=3\n", "names no --system"),
        ("--system=cnn\n--epoch=3\n", "--epoch is no option of cnn"),
        ("--system=cnn\n--epochs=many\n", "--epochs=many: expected int"),
        ("--system=cnn\nepochs=3\n", "line 2 is 'epochs=3'"),
        ("--system=cnn\n--seed=x\n", "seed is 'x'"),
    ]:
        (tmp_path / "x.flags").write_text(text)
        with pytest.raises(InputError, match=message):
            preset(str(tmp_path / "x.flags"))


def test_a_preset_may_name_another_file_over_whose_lines_its_own_win(tmp_path):
    inner, outer = tmp_path / "inner.flags", tmp_path / "outer.flags"
    inner.write_text("--system=cnn\n--epochs=3\n--seed=4\n")
    outer.write_text(f"--epochs=2\n--flagfile={inner}\n")
    config = preset(str(outer))
    assert (config.system, config.training.epochs, config.seed) == ("cnn", 2, 4)
    inner.write_text(f"--flagfile={outer}\n")
    with pytest.raises(InputError, match=r"inner\.flags: --flagfile=.*outer\.flags names itself"):
        preset(str(outer))


def test_switches_in_a_preset_are_read_both_ways(tmp_path):
    (tmp_path / "x.flags").write_text("# a comment\n\n--system=cnn\n--flip\n")
    assert preset(str(tmp_path / "x.flags")).augmentation.flip
    (tmp_path / "x.flags").write_text("--system=cnn\n--noflip\n--widths=4, 8\n--seed=5\n")
    config = preset(str(tmp_path / "x.flags"))
    assert not config.augmentation.flip and config.model.widths == (4, 8) and config.seed == 5
