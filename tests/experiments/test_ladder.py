"""python -m experiments.ladder on synthetic heads, whole, killed and shared."""

import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.commands.ladder import PLAN, Work, run_ladder, work_through
from btjax.runs.run import Run
from btjax.studies.ladder import load_plan
from btjax.systems.config import Config
from btjax.systems.presets import preset
from tests.experiments import commands

OPTIONS = (
    "--preset=linear_cpu --data_dir=phantom --phantom_patients=6 --phantom_slices=3 --image_size=32 --epochs=2 "
    "--folds=2 --protocols=slice,patient --seeds=0"
).split()


def test_an_autoencoder_has_no_ladder(tmp_path, standard_promotion):
    config = Config.default("unet").replace("data.data_dir", "phantom")
    with pytest.raises(InputError, match="--system=unet: an autoencoder, expected a classifier"):
        run_ladder(config, tmp_path / "it", ["slice"], [0])
    assert not (tmp_path / "it").exists()


def environment(folder) -> dict[str, str]:
    return {**os.environ, "BTJAX_CACHE": str(folder / "cache")}


def ladder(folder, *options, preset="linear_cpu"):
    """Runs the command in this process: its status, and what it wrote."""
    flags = [f"--preset={preset}", *OPTIONS[1:], f"--workdir={folder}", *options]
    done = commands.run(environment(folder.parent), "ladder", *flags)
    return done.returncode, done.stdout + done.stderr


def logits(folder) -> dict[str, np.ndarray]:
    paths = sorted(pathlib.Path(folder, "cells").glob("*/fold_*/seed_*"))
    return {str(path.relative_to(folder)): Run(path).predictions.logits for path in paths}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ladders") / "whole"
    status, output = ladder(folder)
    assert status == 0, output
    return folder, output


def test_a_ladder_runs_every_cell_and_writes_its_page(whole):
    folder, output = whole
    assert len(logits(folder)) == 6
    assert (folder / "ladder.json").exists()
    for rung in ("slice", "patient", "slice_matched"):
        assert f"{rung}: " in output
        assert f">{rung}<" in (folder / "ladder.html").read_text()


def workers_of(pid: int) -> list[int]:
    """The processes that a command spawned for its workers; not the one that keeps track of shared memory."""
    pids = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in pids if b"spawn_main" in pathlib.Path(f"/proc/{one}/cmdline").read_bytes()]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_a_killed_worker_costs_one_cell_and_the_ladder_ends_with_the_same_bits(whole, tmp_path):
    options = [*OPTIONS, "--protocols=patient", f"--workdir={tmp_path}/killed", "--workers=2"]
    with subprocess.Popen(
        [sys.executable, "-m", "experiments.ladder", *options],
        cwd=commands.ROOT,
        env=environment(whole[0].parent),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob("killed/cells/*/*/*/config.json")) and time.monotonic() < deadline:
            time.sleep(0.1)
        victims = workers_of(process.pid)
        os.kill(victims[0], signal.SIGKILL)
        output = process.communicate(timeout=280)[0]
    assert process.returncode == 0, output
    assert "a worker ended with status -9; another takes its place" in output
    found, expected = logits(tmp_path / "killed"), logits(whole[0])
    assert len(found) == 2
    for name, values in found.items():
        assert np.array_equal(values, expected[name]), name


def test_a_finished_ladder_runs_nothing_again_and_grows_by_a_seed(whole):
    folder, _ = whole
    before = {path: path.stat().st_mtime_ns for path in folder.glob("cells/*/*/seed_0/report.json")}
    status, output = ladder(folder, "--seeds=0,1", "--protocols=patient")
    assert status == 0, output
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(logits(folder)) == 8


def test_a_cell_that_was_killed_between_its_first_checkpoints_is_trained_to_the_same_bits(tmp_path):
    options = ("--widths=4", "--pools=1", "--protocols=patient")
    status, output = ladder(tmp_path / "whole", *options, preset="cnn_demo")
    assert status == 0, output
    cell = tmp_path / "killed" / "cells" / "patient" / "fold_1" / "seed_0"
    shutil.copytree(tmp_path / "whole" / "cells" / "patient" / "fold_1" / "seed_0", cell)
    shutil.copy(tmp_path / "whole" / "plan.json", tmp_path / "killed")
    for path in cell.iterdir():  # the best checkpoint is saved before the last
        if path.is_file() and path.name != "config.json":
            path.unlink()
    shutil.rmtree(cell / "checkpoints" / "last")
    status, output = ladder(tmp_path / "killed", *options, preset="cnn_demo")
    assert status == 0, output
    found, expected = logits(tmp_path / "killed"), logits(tmp_path / "whole")
    assert len(found) == 2
    for name, values in found.items():
        assert np.array_equal(values, expected[name]), name


def test_a_ladder_of_linked_slices_grows_by_a_protocol_that_needs_no_links(tmp_path):
    for protocols in ("linked", "patient"):
        status, output = ladder(tmp_path / "it", f"--protocols={protocols}")
        assert status == 0, output
    assert len(logits(tmp_path / "it")) == 4
    assert "linked: " in output


def test_cells_that_another_process_added_are_run_as_well(tmp_path, monkeypatch, standard_promotion):
    folder = tmp_path / "it"
    status, output = ladder(folder, "--protocols=patient", "--seeds=0,1")
    assert status == 0, output
    after = load_plan(folder / PLAN)
    before = dataclasses.replace(after, cells=tuple(cell for cell in after.cells if cell.seed == 0))
    shutil.rmtree(folder / "cells" / "patient" / "fold_0" / "seed_1")
    work = Work(folder, "phantom", cache_dir=str(tmp_path / "cache"))
    work.queue(after).add([["patient/fold_0/seed_1"]])
    plans = iter([before])
    monkeypatch.setattr("btjax.commands.ladder.load_plan", lambda _: next(plans, after))
    work_through(work)
    assert len(logits(folder)) == 4


def test_cells_that_were_killed_before_they_began_are_trained_together(whole, tmp_path):
    cells = tmp_path / "it" / "cells" / "patient"
    for fold in (0, 1):  # killed after the folders were held
        (cells / f"fold_{fold}" / "seed_0").mkdir(parents=True)
        (cells / f"fold_{fold}" / "seed_0" / ".btjax.lock").touch()
    shutil.copy(whole[0] / PLAN, tmp_path / "it")
    status, output = ladder(tmp_path / "it", "--protocols=patient", "--together=2")
    assert status == 0, output
    found, expected = logits(tmp_path / "it"), logits(whole[0])
    for name in ("cells/patient/fold_0/seed_0", "cells/patient/fold_1/seed_0"):
        assert np.array_equal(found[name], expected[name])


def lost(work, cores, compiled, reasons):
    """A worker whose disk is full."""
    reasons.put("queue.log: cannot be written: No space left on device")
    os._exit(1)


def test_workers_that_cannot_work_are_not_started_again_and_one_line_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr("btjax.commands.ladder._work_alone", lost)
    config = preset("linear_cpu").replace("data.data_dir", "phantom").replace("data.phantom_patients", 6)
    config = config.replace("data.image_size", 32).replace("data.folds", 2)
    with pytest.raises(InputError, match=r"^queue\.log: cannot be written: No space left on device; the same command"):
        run_ladder(config, tmp_path / "it", ["patient"], [0], workers=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs=3"], "training.epochs=2, now training.epochs=3"),
        (["--protocols=official"], "no cvind folds"),
        (["--fold=1"], "--fold=1: a ladder runs several"),
        (["--storage=nonsense://host/name"], "--storage=nonsense://host/name: "),
    ],
)
def test_what_does_not_go_together_is_one_line(whole, options, message):
    status, output = ladder(whole[0], *options)
    assert status == 2
    assert message in output.splitlines()[-1]
    assert "Traceback" not in output
