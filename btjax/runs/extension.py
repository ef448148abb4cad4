"""Resuming a run with another number of epochs than it was started with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError

if TYPE_CHECKING:
    import pathlib

    from btjax.training.config import TrainingConfig


def check_epochs(folder: pathlib.Path, started: TrainingConfig, epochs: int, progress: dict[str, Any]) -> None:
    """Checks that a run that goes on to `epochs` is the run that it would have been with them from the beginning.

    Args:
      folder: the run's, for errors.
      started: the options that it was started with.
      epochs: those that are asked for.
      progress: of its last checkpoint, see `btjax.training.progress.Progress`.

    Raises:
      InputError: the learning rate depends on the number of epochs, or more of them are done.
    """
    flag = f"--epochs={epochs}: the run in {folder}"
    if started.schedule == "cosine":
        raise InputError(
            f"{flag} was started with --epochs={started.epochs} and --schedule=cosine, which lowers the learning rate "
            "to zero at the last of them; with another number every step would have been another: expected "
            f"--epochs={started.epochs}, or another folder"
        )
    done = progress["epoch"] + (progress["steps"] > 0)
    if epochs < done:
        raise InputError(f"{flag} has begun epoch {done} already, expected --epochs={done} or more")
