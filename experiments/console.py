"""What a run shows on the terminal while it works."""

from __future__ import annotations

from tensorboardX import SummaryWriter
from tqdm import tqdm

from btjax.runs import Run
from btjax.training.loop import Observer, Progress


class DataBars:
    """A progress bar for each thing that is prepared, read or downloaded: called as `bars(what, done, total)`."""

    def __init__(self, unit: str = "it"):
        self._unit, self._bar, self._what = unit, None, None

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.close()
            self._bar = tqdm(total=total or None, desc=what, unit=self._unit, unit_scale=True, dynamic_ncols=True)
            self._what = what
        self._bar.update(done - self._bar.n)
        if done == total:
            self.close()

    def close(self) -> None:
        """Ends the bar that is shown."""
        if self._bar is not None:
            self._bar.close()
        self._bar = self._what = None


class Console(Observer):
    """Shows a run on the terminal, and keeps metrics.jsonl and the TensorBoard log."""

    def __init__(self, epochs: int, run: Run):
        self._epochs, self._run = epochs, run
        self._writer = self._bar = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()
            self._writer.close()

    def on_start(self, progress: Progress, steps_per_epoch: int) -> None:
        total, done = self._epochs * steps_per_epoch, progress.epoch * steps_per_epoch + progress.steps
        self._steps_per_epoch = steps_per_epoch
        self._bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True)
        self._run.write_metrics(progress.history)
        # What a killed run logged past its last checkpoint will be logged again.
        last_step = progress.history[-1]["step"] if progress.history else 0
        self._writer = SummaryWriter(str(self._run.folder / "tensorboard"), purge_step=last_step + 1)

    def on_steps(self, progress: Progress, means: dict[str, float]) -> None:
        self._bar.update(progress.epoch * self._steps_per_epoch + progress.steps - self._bar.n)
        self._bar.set_description(f"epoch {progress.epoch + 1}/{self._epochs}")
        self._bar.set_postfix({name: f"{value:.4f}" for name, value in means.items()})

    def on_epoch(self, progress: Progress) -> None:
        row = progress.history[-1]
        self._run.write_metrics(progress.history)
        for name in row.keys() - {"epoch", "step"}:
            self._writer.add_scalar(name, row[name], row["step"])
        best = " (best)" if progress.best is row else ""
        self._bar.write(
            f"epoch {row['epoch']:3d}  train loss {row['train_loss']:.4f} accuracy {row['train_accuracy']:.4f}  "
            f"validation loss {row['validation_loss']:.4f} accuracy {row['validation_accuracy']:.4f}  "
            f"{row['seconds']:.0f} s{best}"
        )
