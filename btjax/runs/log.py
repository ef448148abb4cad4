"""What a run writes down while it trains: metrics.jsonl, and the TensorBoard log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from btjax.base.progress import Observer

if TYPE_CHECKING:
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
            self._writer.close()
        self._observer.on_end()

    def on_start(self, progress: Standing, steps_per_epoch: int, epochs: int) -> None:
        """Opens the logs."""
        from tensorboardX import SummaryWriter

        self._folder.write_metrics(progress.history)
        # What a killed run logged past its last checkpoint will be logged again.
        last_step = progress.history[-1]["step"] if progress.history else 0
        self._writer = SummaryWriter(str(self._folder.path / "tensorboard"), purge_step=int(last_step) + 1)
        self._observer.on_start(progress, steps_per_epoch, epochs)

    def on_steps(self, progress: Standing, means: dict[str, float]) -> None:
        """Passes it on."""
        self._observer.on_steps(progress, means)

    def on_epoch(self, progress: Standing) -> None:
        """Writes the epoch's metrics."""
        row = progress.history[-1]
        self._folder.write_metrics(progress.history)
        if self._writer is not None:
            for name in row.keys() - {"epoch", "step"}:
                self._writer.add_scalar(name, row[name], int(row["step"]))
        self._observer.on_epoch(progress)
