"""Several runs, or several processes, by one command."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import types

import pytest

import btjax
from btjax.base.errors import InputError
from btjax.base.files import read_json
from btjax.data.dataset import load_data
from btjax.systems.config import Config, config_groups
from experiments import command_line
from tests.experiments import commands
from tests.training.test_hosts import free_port, together

TINY = """
--data_dir=phantom --phantom_patients=6 --phantom_slices=2 --image_size=32 --protocol=patient --colour=grey --folds=3
--widths=4,8 --pools=2 --dense=8 --batch_size=4 --epochs=2 --learning_rate=0.002 --flip
""".split()


@pytest.fixture(scope="module")
def cnn(tmp_path_factory):
    """Runs the CNN's experiment with flags."""
    cache = tmp_path_factory.mktemp("cache")
    environment = os.environ | {"BTJAX_CACHE": str(cache)}

    def run(*flags) -> subprocess.CompletedProcess:
        return commands.run(environment, "cnn", *TINY, *flags)

    return run


def metrics(folder: pathlib.Path) -> list[dict]:
    rows = (json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
    return [row | {"seconds": 0} for row in rows]


def test_all_folds_leaves_a_complete_run_for_each_fold(cnn, tmp_path):
    folder = tmp_path / "folds"
    done = cnn("--all_folds", f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    assert "test accuracy of 3 runs: mean" in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["fold_0", "fold_1", "fold_2"]
    tested = []
    for fold in range(3):
        restored = btjax.restore(folder / f"fold_{fold}")
        assert restored.config.data.fold == fold
        report = read_json(folder / f"fold_{fold}" / "report.json")
        slices = load_data(restored.config.data).slices
        split = btjax.make_split(slices, "patient", fold, 3)
        predictions = restored.probabilities(slices.images[split.test]).argmax(1)
        assert report["test"]["accuracy"] == pytest.approx((predictions == slices.labels[split.test]).mean())
        assert (folder / f"fold_{fold}" / "report.html").exists()
        tested += list(split.test)
    assert sorted(tested) == list(range(len(slices)))

    single = cnn("--fold=1", f"--workdir={tmp_path / 'single'}")
    assert single.returncode == 0, single.stderr
    assert metrics(folder / "fold_1") == metrics(tmp_path / "single")
    evaluated = cnn("--fold=2", "--eval_only", f"--workdir={folder / 'fold_2'}")
    assert evaluated.returncode == 0, evaluated.stderr


def test_seeds_have_folders_and_can_be_added_to(cnn, tmp_path):
    for flags in (["--seeds=1"], ["--seeds=1,4", "--resume"]):
        done = cnn(*flags, "--epochs=1", f"--workdir={tmp_path}")
        assert done.returncode == 0, done.stderr
    assert {btjax.restore(tmp_path / f"seed_{seed}").config.seed for seed in (1, 4)} == {1, 4}


@pytest.mark.parametrize("seeds", ["1,x", "2,2", "-1", "4294967296"])
def test_seeds_that_are_none_are_told(monkeypatch, seeds):
    given = types.SimpleNamespace(seeds=seeds.split(","), all_folds=False)
    monkeypatch.setattr(command_line, "FLAGS", given)
    with pytest.raises(InputError, match=f"--seeds={seeds}: expected distinct non-negative integers"):
        command_line.several_configs(None)


def test_folds_of_several_seeds_are_a_folder_in_a_folder(monkeypatch):
    monkeypatch.setattr(command_line, "FLAGS", types.SimpleNamespace(seeds=["3", "0"], all_folds=True))
    groups = {name: kind() for name, kind in config_groups("cnn").items()}
    groups["data"] = dataclasses.replace(groups["data"], folds=2)
    configs = command_line.several_configs(Config("cnn", 9, **groups))
    expected = {"seed_3/fold_0": (3, 0), "seed_3/fold_1": (3, 1), "seed_0/fold_0": (0, 0), "seed_0/fold_1": (0, 1)}
    assert {name: (config.seed, config.data.fold) for name, config in configs.items()} == expected


def test_a_command_in_two_processes_writes_one_run_and_the_first_alone_speaks(tmp_path):
    flags = (
        "--data_dir=phantom --phantom_patients=8 --phantom_slices=4 --image_size=32 --protocol=patient --colour=grey"
    )
    flags += f" --widths=4,8 --pools=2 --dense=16 --batch_size=16 --epochs=2 --workdir={tmp_path / 'run'}"
    command = [sys.executable, "-m", "experiments.cnn", *flags.split(), f"--cache_dir={tmp_path / 'cache'}"]
    several = ["--mesh=2", f"--coordinator=localhost:{free_port()}", "--processes=2"]
    first, second = together([[*command, *several, f"--process={process}"] for process in "01"])
    assert "accuracy" not in second.stdout
    (alone,) = together([[*command, "--eval_only"]])
    assert alone.stdout.splitlines()[-2:] == first.stdout.splitlines()[-2:]
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1
