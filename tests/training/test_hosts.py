"""Two processes on this machine train one run together, as two hosts would."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.training import hosts

ROOT = pathlib.Path(__file__).resolve().parents[2]

TRAIN = """
import pathlib, sys
import jax
from btjax.training.hosts import join
from btjax.base.progress import Observer
from btjax.training.progress import Interrupted
address, process, folder, epochs, resume, stop = sys.argv[1:]
join(address, 2, int(process))
from tests.training.trainers import StopAt, make_trainer

with jax.numpy_dtype_promotion("standard"):
    options = {"epochs": int(epochs), "batch_size": 16, "devices": 2, "resume": resume == "resume"}
    trainer = make_trainer(pathlib.Path(folder), **options)
    try:
        history = trainer.fit(StopAt(0, 1) if stop == process else Observer()).history
    except Interrupted as interrupted:
        print("stopped", interrupted.signal, trainer.progress.epoch, trainer.progress.steps)
        sys.exit()
print("trained", *(row[f"{side}_loss"] for row in history for side in ("train", "validation")))
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def together(commands: list[list[str]]) -> list[subprocess.CompletedProcess]:
    """Runs commands side by side; fails with what they said where one does not end well."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    started = [
        subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for command in commands
    ]
    try:
        ended = [process.communicate(timeout=240) for process in started]
    finally:
        for process in started:
            process.kill()
    for process, (_, errors) in zip(started, ended, strict=True):
        assert process.returncode == 0, errors
    return [subprocess.CompletedProcess(process.args, 0, *texts) for process, texts in zip(started, ended, strict=True)]


def train(folder, epochs=3, resume="", stop="") -> list[list[str]]:
    """The last line of each process's answer, in words."""
    address = f"localhost:{free_port()}"
    arguments = [str(folder), str(epochs), resume, stop]
    done = together([[sys.executable, "-c", TRAIN, address, process, *arguments] for process in "01"])
    return [one.stdout.splitlines()[-1].split() for one in done]


def test_two_processes_give_the_losses_of_one_device_and_a_signal_to_one_stops_both_to_be_resumed(tmp_path):
    from tests.training.trainers import make_trainer

    history = make_trainer(epochs=3, batch_size=16).fit().history
    expected = [row[f"{side}_loss"] for row in history for side in ("train", "validation")]
    first, second = train(tmp_path, stop="1")
    assert first == second and first[:2] == ["stopped", str(int(signal.SIGTERM))]
    assert 1 <= len(list((tmp_path / "last").iterdir())) <= 2  # the one before the newest is kept too
    for word, *losses in train(tmp_path, resume="resume"):
        assert word == "trained"
        np.testing.assert_allclose(np.array(losses, float), expected, rtol=1e-4)
    assert [len(list((tmp_path / which).iterdir())) for which in ("last", "best")] == [2, 1]


@pytest.mark.parametrize("numbers", [(0, 0), (2, 2)])
def test_a_process_that_is_none_of_them_is_refused(numbers):
    with pytest.raises(InputError, match=f"--processes={numbers[0]}, --process={numbers[1]}: expected"):
        hosts.join("localhost:1", *numbers)


def test_one_process_agrees_with_itself():
    assert hosts.agree(3, 0) == [3, 0] and hosts.leads()
