"""Another number of epochs for a run that was begun."""

import pathlib

import pytest

from btjax.base.errors import InputError
from btjax.runs.extension import check_epochs
from btjax.training.config import TrainingConfig

FOLDER = pathlib.Path("runs/x")


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
@pytest.mark.parametrize(("epochs", "done"), [(5, (3, 0)), (3, (3, 0)), (4, (3, 7))])
def test_a_schedule_that_knows_no_end_lets_it_move(schedule, epochs, done):
    started = TrainingConfig(epochs=4, schedule=schedule, warmup_epochs=1.0)
    check_epochs(FOLDER, started, epochs, {"epoch": done[0], "steps": done[1]})


@pytest.mark.parametrize("epochs", [2, 5])
def test_a_cosine_is_another_with_another_end(epochs):
    started = TrainingConfig(epochs=4, schedule="cosine")
    with pytest.raises(InputError, match=r"--epochs=\d: the run in runs/x .*--schedule=cosine.*expected --epochs=4"):
        check_epochs(FOLDER, started, epochs, {"epoch": 1, "steps": 0})


@pytest.mark.parametrize(("epoch", "steps"), [(3, 0), (2, 1)])
def test_epochs_that_are_done_cannot_be_taken_back(epoch, steps):
    with pytest.raises(InputError, match="--epochs=2: the run in runs/x has begun epoch 3 already"):
        check_epochs(FOLDER, TrainingConfig(epochs=4), 2, {"epoch": epoch, "steps": steps})
