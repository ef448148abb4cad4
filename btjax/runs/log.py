"""What a run writes down while it trains: metrics.jsonl, and the TensorBoard log."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from btjax.base.errors import Unwritable, foreign
from btjax.base.files import make_folder
from btjax.base.progress import Observer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

    from btjax.base.progress import Standing
    from btjax.runs.folder import RunFolder


class RunLog(Observer):
    """Keeps a run's metrics on disk and tells another observer the same.

    Args:
      folder: the run's.
      observer: who else is told.
    """

    def __init__(self, folder: RunFolder, observer: Observer) -> None:
        self._folder, self._observer = folder, observer
        self._writer: Any = None

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            with contextlib.suppress(Exception):  # what failed before has been told
                self._writer.close()
        self._observer.on_end()

    def on_start(self, progress: Standing, steps_per_epoch: int, epochs: int) -> None:
        """Opens the logs."""
        from tensorboardX.event_file_writer import EventsWriter

        self._folder.write_metrics(progress.history)
        # What a killed run logged past its last checkpoint will be logged again.
        last_step = progress.history[-1]["step"] if progress.history else 0
        place = self._folder.path / "tensorboard"
        make_folder(place)
        with self._writing():
            # Not its SummaryWriter, whose thread dies of a full disk and lets the run wait for it for ever.
            self._writer = EventsWriter(str(place / "events"))
            self._add(int(last_step) + 1, session_log=_messages().SessionLog(status=_START))
            self._writer.flush()
        self._observer.on_start(progress, steps_per_epoch, epochs)

    def on_steps(self, progress: Standing, means: dict[str, float]) -> None:
        """Passes it on."""
        self._observer.on_steps(progress, means)

    def on_epoch(self, progress: Standing) -> None:
        """Writes the epoch's metrics."""
        row = progress.history[-1]
        self._folder.write_metrics(progress.history)
        if self._writer is not None:
            from tensorboardX.summary import scalar

            with self._writing():
                for name in row.keys() - {"epoch", "step"}:
                    self._add(int(row["step"]), summary=scalar(name, row[name]))
                self._writer.flush()
        self._observer.on_epoch(progress)

    def _add(self, step: int, **content: Any) -> None:
        """Writes an event of TensorBoard."""
        self._writer.write_event(_messages().Event(wall_time=time.time(), step=step, **content))

    def _writing(self) -> AbstractContextManager[None]:
        return foreign(f"{self._folder.path / 'tensorboard'}: cannot be written", kind=Unwritable)


_START = 1  # SessionLog.START: what was logged at this step or later, before, no longer counts


def _messages() -> Any:
    """TensorBoard's messages, classes that protobuf makes when they are imported."""
    from tensorboardX.proto import event_pb2

    return event_pb2
