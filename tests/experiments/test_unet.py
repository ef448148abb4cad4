"""The U-Net's experiment as its users run it: all stages on the phantom data set."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess

import jax
import numpy as np
import pytest
from flax import traverse_util

import btjax
from btjax.base.digests import content_digest
from btjax.base.errors import InputError
from btjax.base.files import read_json, write_json
from btjax.base.keys import random_key
from btjax.base.progress import Observer
from btjax.commands.saliency import open_run
from btjax.runs.log import RunLog
from btjax.studies.composed import load_composed
from btjax.studies.subject import SaliencyConfig, chosen_methods
from tests.experiments import commands

TINY = """
--data_dir=phantom --phantom_patients=8 --phantom_slices=3 --image_size=32 --protocol=patient --width=4 --epochs=2
--keep_every=1 --classifier_epochs=4 --batch_size=16 --seed=1 --flip --select=validation_accuracy
""".split()


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return os.environ | {"BTJAX_CACHE": str(cache)}


def run(environment, folder, *flags) -> subprocess.CompletedProcess:
    return commands.run(environment, "unet", *TINY, f"--workdir={folder}", *flags)


@pytest.fixture(scope="module")
def finished(environment, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("runs") / "unet"
    done = run(environment, folder)
    assert done.returncode == 0, done.stderr
    assert "test MAE" in done.stdout and "final: " in done.stdout
    return folder


def test_both_trained_models_come_back(finished):
    images = np.zeros((2, 32, 32), np.uint8)
    assert btjax.restore(finished / "autoencoder").outputs(images).shape == (2, 32, 32, 3)
    assert btjax.restore(finished / "classifier").probabilities(images).shape == (2, 3)
    assert read_json(finished / "classifier" / "report.json")["test"]["slices"] > 0


def test_location_has_the_bytes_that_it_began_with(finished):
    restored = btjax.restore(finished / "autoencoder")
    key = random_key(jax.random.key(restored.config.seed), "init")
    fresh = restored.config.task().initialise(key, 32)["params"]
    trained = restored.variables["params"]
    assert np.asarray(trained["location"]["kernel"]).tobytes() == np.asarray(fresh["location"]["kernel"]).tobytes()
    assert not np.array_equal(trained["colorer"]["kernel"], fresh["colorer"]["kernel"])


def test_composed_leaves_are_bit_equal_to_their_sources(finished):
    origins = read_json(finished / "composed" / "origins.json")
    autoencoder, classifier = (btjax.restore(finished / name).variables for name in ("autoencoder", "classifier"))
    sources = {
        "autoencoder": traverse_util.flatten_dict(autoencoder, sep="/"),
        "classifier": {
            path.replace("/class_down", "/down"): leaf
            for path, leaf in traverse_util.flatten_dict(classifier, sep="/").items()
        },
    }
    for name in ("final", "left", "right"):
        leaves = traverse_util.flatten_dict(load_composed(finished, name), sep="/")
        assert leaves.keys() == origins[name].keys()
        for path, origin in origins[name].items():
            if origin != "fresh":
                assert np.asarray(leaves[path]).tobytes() == np.asarray(sources[origin][path]).tobytes(), path
    assert set(origins["final"].values()) == {"autoencoder", "classifier"}
    assert {path for path, origin in origins["left"].items() if origin == "fresh"} == {"params/location/kernel"}
    assert all(origin == "fresh" for path, origin in origins["right"].items() if "colorer" in path)


def test_the_figures_are_drawn_anew_from_a_finished_folder(environment, finished):
    for path in (finished / "figures").iterdir():
        path.unlink()
    before = read_json(finished / "unet.json")
    done = run(environment, finished, "--stage=figures")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (finished / "figures").iterdir()} == {f"figure_{n:02d}.png" for n in range(7, 15)}
    assert read_json(finished / "unet.json") == before
    assert set(before["by_epoch"]) == {"full", "left", "right"}
    assert set(before["by_epoch"]["full"]) == {"1", "2"}
    assert before["latent"]["full"]["effect"] == 0
    page = (finished / "unet.html").read_text()
    assert page.count("<img") == 8 and "http" not in page.replace("http://www.w3.org", "")


def test_finished_stages_are_not_trained_again_when_resumed(environment, finished):
    stamps = {path: path.stat().st_mtime_ns for path in finished.glob("*/checkpoints/best/*")}
    done = run(environment, finished, "--resume", "--stage=classifier")
    assert done.returncode == 0, done.stderr
    assert stamps == {path: path.stat().st_mtime_ns for path in finished.glob("*/checkpoints/best/*")}


def test_the_classifier_can_begin_with_the_autoencoders_encoder(environment, finished, tmp_path):
    folder = tmp_path / "unet"
    (folder).mkdir()
    (folder / "autoencoder").symlink_to(finished / "autoencoder")
    done = run(environment, folder, "--stage=classifier", "--classifier_start=autoencoder", "--classifier_epochs=1",
               "--classifier_learning_rate=0")  # fmt: skip
    assert done.returncode == 0, done.stderr
    began = btjax.restore(folder / "classifier").variables["params"]
    encoder = btjax.restore(folder / "autoencoder").variables["params"]
    np.testing.assert_array_equal(began["class_down_2"]["conv"]["kernel"], encoder["down_2"]["conv"]["kernel"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--stage=compose"], "no autoencoder in {folder}; run --stage=autoencoder first"),
        (["--stage=figures"], "no autoencoder in {folder}; run --stage=autoencoder first"),
        (["--stage=classifier", "--classifier_start=autoencoder"], "no autoencoder in {folder}"),
        (["--image_size=48"], "--image_size=48: the U-Net expects a power of two"),
        (["--class_weights=balanced"], "--class_weights=balanced: an autoencoder has no classes, expected none"),
        (["--eval_only"], "--eval_only: the U-Net's is --stage=figures"),
        (["--stream"], "--stream: this experiment keeps its slices in memory"),
    ],
)
def test_a_mistake_ends_in_one_line(environment, tmp_path, flags, message):
    done = run(environment, tmp_path / "run", *flags)
    assert done.returncode == 2
    assert message.format(folder=tmp_path / "run") in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_parts_of_other_sizes_are_not_composed(environment, finished, tmp_path):
    folder = tmp_path / "unet"
    folder.mkdir()
    (folder / "autoencoder").symlink_to(finished / "autoencoder")
    narrow = run(environment, folder, "--stage=classifier", "--width=2", "--classifier_epochs=1")
    assert narrow.returncode == 0, narrow.stderr
    done = run(environment, folder, "--stage=compose")
    assert done.returncode == 2
    assert "classifier: params/" in done.stderr.splitlines()[-1] and "expected" in done.stderr.splitlines()[-1]


def copy_of(finished, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(finished, tmp_path / "unet"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seed=7"], "--seed=7: the run in {folder}/autoencoder was trained with --seed=1"),
        (["--fold=3"], "--fold=3: the run in {folder}/autoencoder was trained with --fold=0"),
        (["--protocol=slice"], "--protocol=slice: the run in {folder}/autoencoder was trained with --protocol=patient"),
        (["--phantom_seed=3"], "--phantom_seed=3: the run in {folder}/autoencoder was trained with --phantom_seed=0"),
    ],
)
@pytest.mark.parametrize("stage", ["classifier", "compose", "figures"])
def test_a_stage_of_another_seed_split_or_data_set_is_refused(environment, finished, stage, flags, message):
    before = (finished / "unet.json").read_bytes()
    done = run(environment, finished, f"--stage={stage}", "--resume", *flags)
    assert done.returncode == 2
    assert message.format(folder=finished) in done.stderr.splitlines()[-1]
    assert (finished / "unet.json").read_bytes() == before


def test_other_slices_under_the_same_options_are_refused(environment, finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    for name in ("autoencoder", "classifier"):
        path = folder / name / "config.json"
        write_json(path, read_json(path) | {"slices": "0" * 16})
    done = run(environment, folder, "--stage=figures")
    assert done.returncode == 2 and "the fingerprint of its slices is" in done.stderr.splitlines()[-1]


def other_variables(folder: pathlib.Path, name: str) -> None:
    """What training anew leaves: other parameters under the same options."""
    restored = btjax.restore(folder / name)
    changed = jax.tree.map(lambda leaf: leaf + 1, restored.variables)
    restored.checkpoints.save("best", changed, 1, restored.checkpoints.progress("best"))


@pytest.mark.parametrize("name", ["autoencoder", "classifier"])
def test_models_composed_from_a_run_that_was_trained_anew_are_refused_until_composed_again(
    environment, finished, tmp_path, name
):
    folder = copy_of(finished, tmp_path)
    other_variables(folder, name)
    done = run(environment, folder, "--stage=figures")
    assert done.returncode == 2
    assert f"composed: made from another {name} than the one in" in done.stderr.splitlines()[-1]
    assert run(environment, folder, "--stage=compose").returncode == 0
    assert run(environment, folder, "--stage=figures").returncode == 0


def test_models_that_are_composed_already_are_left_as_they_are_and_a_damaged_one_is_made_anew(
    environment, finished, tmp_path
):
    folder = copy_of(finished, tmp_path)
    kept = [
        {path: path.stat().st_mtime_ns for path in (folder / "composed" / name).rglob("*")}
        for name in ("final", "left")
    ]
    (folder / "composed" / ".made_of.json").unlink()
    for path in (folder / "composed" / "right").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    done = run(environment, folder, "--stage=compose")
    assert done.returncode == 0, done.stderr
    assert [
        {path: path.stat().st_mtime_ns for path in (folder / "composed" / name).rglob("*")}
        for name in ("final", "left")
    ] == kept
    assert content_digest(load_composed(folder, "right")) == content_digest(load_composed(finished, "right"))
    assert run(environment, folder, "--stage=figures").returncode == 0


def test_the_final_models_own_maps_may_be_named_among_the_methods(environment, finished):
    def chosen(*methods):
        config = SaliencyConfig(methods=methods)
        subject = open_run(finished / "classifier", config, None, Observer(), environment["BTJAX_CACHE"])
        return [method.name for method in chosen_methods(config, subject)[0]]

    assert chosen("gradient", "final_output") == ["gradient", "final_output"]
    assert chosen("final_difference") == ["final_difference"]
    with pytest.raises(InputError, match="saliency method 'final'"):
        chosen("final")


def test_a_classifier_that_began_with_another_autoencoder_is_refused(environment, finished, tmp_path):
    folder = tmp_path / "unet"
    shutil.copytree(finished / "autoencoder", folder / "autoencoder")
    begun = "--stage=classifier", "--classifier_start=autoencoder"
    assert run(environment, folder, *begun).returncode == 0
    fresh = run(environment, folder, "--stage=classifier", "--resume")
    assert fresh.returncode == 2 and "began with --classifier_start=autoencoder" in fresh.stderr.splitlines()[-1]
    other_variables(folder, "autoencoder")
    for flags in ((*begun, "--resume"), ("--stage=compose",)):
        done = run(environment, folder, *flags)
        assert done.returncode == 2
        assert "classifier: made from another autoencoder than the one in" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "flags", [["--stage=compose"], ["--stage=figures"], ["--stage=classifier", "--classifier_start=autoencoder"]]
)
def test_nothing_is_made_from_an_unfinished_autoencoder(environment, finished, tmp_path, flags):
    folder = copy_of(finished, tmp_path)
    path = folder / "autoencoder" / "config.json"
    values = read_json(path)
    values["training"]["epochs"] = 9
    write_json(path, values)
    done = run(environment, folder, *flags)
    assert done.returncode == 2
    assert "autoencoder is unfinished, at epoch 2 of 9; expected a finished one" in done.stderr.splitlines()[-1]


def test_an_experiment_that_was_stopped_before_its_second_stage_is_finished_by_resume(environment, finished, tmp_path):
    folder = tmp_path / "unet"
    shutil.copytree(finished / "autoencoder", folder / "autoencoder")
    done = run(environment, folder, "--resume")
    assert done.returncode == 0, done.stderr
    assert (folder / "unet.json").exists()


def test_a_folder_of_something_else_takes_no_experiment(environment, tmp_path):
    (tmp_path / "figures").mkdir()
    done = run(environment, tmp_path)
    assert done.returncode == 2 and "not marked as a folder of unet (found figures)" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]


@pytest.mark.parametrize("stage", ["autoencoder", "classifier"])
def test_an_experiment_that_is_killed_in_a_stage_is_finished_by_resume(
    environment, finished, tmp_path, monkeypatch, stage
):
    def killed(log, progress):
        on_epoch(log, progress)
        if log._folder.path.name == stage:
            raise KeyboardInterrupt

    on_epoch, folder = RunLog.on_epoch, tmp_path / "unet"
    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(RunLog, "on_epoch", killed)
        run(environment, folder)
    assert (folder / stage).is_dir() and not (folder / "unet.json").exists()
    done = run(environment, folder, "--resume")
    assert done.returncode == 0, done.stderr
    for name in ("unet.json", "autoencoder/report.json", "classifier/report.json"):
        contents = [json.loads((place / name).read_text())["sha256"]["content"] for place in (folder, finished)]
        assert contents[0] == contents[1], name
