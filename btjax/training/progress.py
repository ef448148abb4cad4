"""Where a run stands, and how it ends before its end."""

from __future__ import annotations

import dataclasses
import signal
import threading
from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError, Stop

if TYPE_CHECKING:
    import os

    from btjax.training.config import TrainingConfig


@dataclasses.dataclass
class Progress:
    """Where a run stands; JSON values, saved with each checkpoint.

    Attributes:
      epoch: epochs completed.
      steps: steps taken of the unfinished epoch.
      seconds: training time so far, of all sittings together.
      history: one row of metrics per completed epoch.
      best: the row of the best checkpoint, or None.
    """

    epoch: int = 0
    steps: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    best: dict[str, float] | None = None

    @staticmethod
    def of(values: dict[str, Any], folder: os.PathLike) -> Progress:
        """The progress that a checkpoint keeps; InputError, which names its folder, where that is none."""
        known = {field.name for field in dataclasses.fields(Progress)}
        typed = isinstance(values.get("epoch"), int) and isinstance(values.get("history"), list)
        if not typed or values.keys() - known:
            raise InputError(f"{folder}: the checkpoint is damaged: it does not say how far the run had come")
        return Progress(**values)


def is_finished(config: TrainingConfig, progress: Progress) -> bool:
    """Whether the last epoch is done, or early stopping has ended the run."""
    waited = progress.epoch - (progress.best["epoch"] if progress.best else 0)
    return progress.epoch >= config.epochs or 0 < config.patience <= waited


class Interrupted(Stop):
    """The run was asked to stop (Ctrl-C, SIGTERM) and saved its state; `signal` is the signal's number."""

    def __init__(self, signal_number: int, progress: Progress) -> None:
        place = f"epoch {progress.epoch + 1} after {progress.steps} of its steps"
        super().__init__(f"stopped in {place}; --resume continues from here")
        self.signal = signal_number


class NotFinite(InputError):
    """A loss or gradient was infinite or not a number; the last checkpoint is from before that step."""


class StopRequest:
    """Context in which SIGINT and SIGTERM are only noted; a second SIGINT interrupts at once.

    Attributes:
      signal: the signal's number, 0 where none came.
    """

    def __init__(self):
        self.signal = 0

    def _handle(self, number, _frame):
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def __enter__(self):
        # Only the main thread of a program can handle signals: in another one nobody asks the run to stop.
        handled = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        self._previous = {number: signal.signal(number, self._handle) for number in handled}
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)
