"""The CNN's experiment as its users run it, on the phantom data set."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import btjax
from btjax.base.files import read_json
from btjax.data.dataset import load_data
from btjax.runs.folder import RESULTS
from tests.experiments import commands
from tests.experiments.commands import ROOT

TINY = """
--data_dir=phantom --phantom_patients=8 --phantom_slices=4 --image_size=32 --protocol=patient --colour=grey
--widths=4,8 --pools=2 --dense=16 --batch_size=4 --epochs=3 --learning_rate=0.002 --flip --seed=1
""".split()


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Every command of this module shares one cache."""
    cache = tmp_path_factory.mktemp("cache")
    return os.environ | {"BTJAX_CACHE": str(cache)}


def command(*flags) -> list[str]:
    return [sys.executable, "-m", "experiments.cnn", *map(str, flags)]


def run(environment, *flags) -> subprocess.CompletedProcess:
    return commands.run(environment, "cnn", *flags)


@pytest.fixture(scope="module")
def finished(environment, tmp_path_factory) -> pathlib.Path:
    """The folder of a run that was never interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    done = run(environment, *TINY, f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    assert "data: synthetic heads" in done.stdout and "test accuracy" in done.stdout
    return folder


def final_bits(folder: pathlib.Path) -> list[bytes]:
    """The bytes of the best variables, and with them those of the last state."""
    run = btjax.Run(folder)
    config = run.config
    slices = load_data(config.data).slices
    split = btjax.make_split(slices, config.data.protocol, config.data.fold, config.data.folds, config.split_seed)
    from btjax.training.examples import Examples
    from btjax.training.loop import Trainer

    with jax.numpy_dtype_promotion("standard"):
        trainer = Trainer(config.task(), config.training, Examples.of(slices, split), config.seed, run.checkpoints)
        trainer.restore()
    state = trainer.state.replace(key=jax.random.key_data(trainer.state.key))
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((state, btjax.restore(folder).variables))]


def metrics(folder: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_what_the_readme_promises(finished):
    names = {"config.json", "metrics.jsonl", "checkpoints", "predictions.npz", "report.json", "report.html", "figures"}
    assert names <= {path.name for path in finished.iterdir()}
    assert not list(finished.rglob("*.part"))
    rows = metrics(finished)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert {path.suffix for path in (finished / "figures").iterdir()} == {".png"}


def test_the_report_holds_its_numbers_with_protocol_counts_and_interval(finished):
    report = read_json(finished / "report.json")
    test = report["test"]
    assert report["protocol"] == "patient" and report["split"]["leaked_patients"] == 0
    matrix = np.array(test["confusion_matrix"])
    assert matrix.sum() == report["counts"]["test"]["slices"] == test["slices"]
    assert test["accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum())
    low, high = test["accuracy_ci95"]
    assert low <= test["accuracy"] <= high
    for index, name in enumerate(report["classes"]):
        row = test["per_class"][name]
        assert row["support"] == matrix[index].sum()
        assert row["recall"] == pytest.approx(matrix[index, index] / matrix[index].sum())
        assert {"precision", "f1"} <= row.keys()
    assert sum(side["slices"] for side in report["counts"].values()) == 96
    assert sum(side["patients"] for side in report["counts"].values()) == 24
    assert {"class_prior", "linear_model"} == report["baselines"].keys()
    assert report["checkpoint"]["epoch"] in (1, 2, 3)


def test_the_restored_model_predicts_what_the_report_says(finished):
    restored = btjax.restore(finished)
    slices = load_data(restored.config.data).slices
    split = btjax.make_split(slices, "patient", seed=1)
    probabilities = restored.probabilities(slices.images[split.test])
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    report = read_json(finished / "report.json")
    assert report["test"]["accuracy"] == pytest.approx((probabilities.argmax(1) == slices.labels[split.test]).mean())
    with pytest.raises(ValueError, match=r"expected uint8 \[N, 32, 32\]"):
        restored.logits(np.zeros((1, 16, 16), np.uint8))


def test_a_killed_run_resumes_to_the_same_bits_and_metrics(environment, finished, tmp_path):
    folder = tmp_path / "killed"
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command(*TINY, f"--workdir={folder}"), cwd=ROOT, env=environment, stderr=log)
        deadline = time.monotonic() + 240
        while not btjax.Run(folder).checkpoints.exists("last") and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert not (folder / "report.json").exists()
    resumed = run(environment, *TINY, f"--workdir={folder}", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert final_bits(folder) == final_bits(finished)
    reports = [read_json(place / "report.json") for place in (folder, finished)]
    assert reports[0]["test"] == reports[1]["test"]
    rows = [metrics(place) for place in (folder, finished)]
    assert [row | {"seconds": 0} for row in rows[0]] == [row | {"seconds": 0} for row in rows[1]]


def test_sigterm_saves_and_says_how_to_go_on(environment, tmp_path):
    folder = tmp_path / "stopped"
    process = subprocess.Popen(
        command(*TINY, f"--workdir={folder}", "--epochs=500"),
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    while not (folder / "metrics.jsonl").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.5)
    process.terminate()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert "--resume continues from here" in errors.splitlines()[-1]
    assert btjax.Run(folder).checkpoints.exists("last")


def test_a_run_that_is_trained_to_its_end_is_not_trained_again_from_the_checkpoint_before_a_damaged_one(
    environment, finished, tmp_path
):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    newest = max((folder / "checkpoints" / "last").iterdir(), key=lambda path: int(path.name))
    (newest / "_CHECKPOINT_METADATA").write_bytes(b"")
    before = {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "report.json")}
    done = run(environment, *TINY, f"--workdir={folder}", "--resume")
    assert done.returncode == 2 and "is trained to its end and its results stand" in done.stderr.splitlines()[-1]
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert btjax.restore(folder).variables["params"]
    for name in RESULTS:  # without results, as after a kill before they were written, it goes on to the same ones
        (folder / name).unlink(missing_ok=True)
    done = run(environment, *TINY, f"--workdir={folder}", "--resume")
    assert done.returncode == 0, done.stderr
    assert read_json(folder / "report.json")["test"] == json.loads(before["report.json"])["test"]


def test_eval_only_writes_the_same_report_again(environment, finished):
    before = read_json(finished / "report.json")
    done = run(environment, *TINY, f"--workdir={finished}", "--eval_only")
    assert done.returncode == 0, done.stderr
    after = read_json(finished / "report.json")
    assert after["test"] == before["test"]


def fails_in_one_line(done: subprocess.CompletedProcess, message: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert message in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workdir="], "--workdir is missing"),
        (["--data_dir="], "--data_dir is missing"),
        (["--data_dir=/no/such/folder"], "/no/such/folder"),
        (["--folds=100"], "expected at least 100"),
        (["--widths=4,x"], "--widths=4,x: expected int values"),
        (["--protocol=official"], "no cvind folds"),
        (["--resume"], "no run to resume"),
        (["--eval_only", "false"], "false: is not a flag"),
        (["--batch_size=0"], "--batch_size is 0, expected at least 1"),
        (["--pools=6", "--widths=4,4,4,4,4,4"], "nothing is left after 6 of the convolutions"),
        (["--learning_rate=nan"], "--learning_rate is nan"),
        (["--weight_decay=0.1"], "--weight_decay=0.1: needs --optimizer=adamw"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_users_mistake_is_one_line_and_leaves_nothing(environment, tmp_path, flags, message):
    folder = tmp_path / "run"
    fails_in_one_line(run(environment, *TINY, f"--workdir={folder}", *flags), message)
    assert not folder.exists()


def test_a_workdir_with_another_config_is_refused_and_left_alone(environment, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    fails_in_one_line(
        run(environment, *TINY, f"--workdir={finished}", "--resume", "--dense=17"),
        "holds a run with dense=16, now dense=17",
    )
    fails_in_one_line(run(environment, *TINY, f"--workdir={finished}"), "holds a run already; add --resume")
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_a_run_that_goes_on_to_more_epochs_has_the_bits_of_one_that_was_asked_for_them_at_once(
    environment, finished, tmp_path
):
    folder = tmp_path / "run"
    folder.mkdir()
    begun = run(environment, *TINY, f"--workdir={folder}", "--epochs=1")
    assert begun.returncode == 0, begun.stderr
    (folder / "log.txt").write_text(begun.stdout)
    fewer = run(environment, *TINY, f"--workdir={folder}", "--epochs=2")
    assert fewer.returncode == 2 and "holds a run already; add --resume" in fewer.stderr.splitlines()[-1]
    done = run(environment, *TINY, f"--workdir={folder}", "--resume")
    assert done.returncode == 0, done.stderr
    assert final_bits(folder) == final_bits(finished)
    assert [row | {"seconds": 0} for row in metrics(folder)] == [row | {"seconds": 0} for row in metrics(finished)]
    assert read_json(folder / "config.json")["training"]["epochs"] == 3
    assert btjax.Run(folder).report.training.epochs == 3
    fewer = run(environment, *TINY, f"--workdir={folder}", "--epochs=2", "--resume")
    assert fewer.returncode == 2 and "has begun epoch 3 already, expected --epochs=3" in fewer.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"JAX_PLATFORMS": "cuda"}, "JAX_PLATFORMS=cuda: JAX finds no such device"),
        ({"JAX_PLATFORMS": "no_such"}, "JAX_PLATFORMS=no_such: JAX finds no such device"),
        ({"BTJAX_CACHE": "~nobody-of-that-name/x"}, "~nobody-of-that-name/x: "),
    ],
)
def test_an_environment_that_does_not_fit_is_one_line(environment, tmp_path, changes, said):
    done = commands.start(environment | changes, "cnn", *TINY, "--data_dir=none", f"--workdir={tmp_path / 'run'}")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert said in last
