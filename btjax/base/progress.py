"""What long work says about itself while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

ProgressCallback = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)`; total is 0 where it is not known."""


class Standing(Protocol):
    """Where a run stands, as observers see it; see `btjax.training.progress.Progress`."""

    epoch: int
    steps: int
    best: dict[str, float] | None

    @property
    def history(self) -> Sequence[dict[str, float]]:
        """One row of metrics for each completed epoch."""
        ...


class Observer:
    """Is told how a run is getting on; override what is of interest.

    Example:
      >>> class Epochs(Observer):
      ...     def on_epoch(self, progress):
      ...         print(progress.epoch, progress.history[-1]["validation_accuracy"])
    """

    def on_data(self, what: str, done: int, total: int) -> None:
        """Something is prepared or read: `done` of `total`, which is 0 where it is not known."""

    def on_message(self, text: str) -> None:
        """A line for people, such as the data set's form."""

    def on_notes(self, notes: Sequence[str]) -> None:
        """What is to be said of the data, one line each; by default messages that begin with "note: "."""
        for note in notes:
            self.on_message(f"note: {note}")

    def on_start(self, progress: Standing, steps_per_epoch: int, epochs: int) -> None:
        """Training begins, or resumes at `progress`."""

    def on_steps(self, progress: Standing, means: dict[str, float]) -> None:
        """Some steps of an epoch were taken; `means` are the epoch's metrics so far."""

    def on_epoch(self, progress: Standing) -> None:
        """An epoch is complete; its metrics are `progress.history[-1]`."""

    def on_end(self) -> None:
        """The work is over, or was stopped; may be told more than once."""


@contextlib.contextmanager
def told(observer: Observer | None) -> Iterator[Observer]:
    """Gives the observer, or one that takes no interest, and tells it of the end however the work ends."""
    observer = observer or Observer()
    try:
        yield observer
    finally:
        observer.on_end()
