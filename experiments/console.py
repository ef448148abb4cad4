"""What a run shows on the terminal while it works."""

from __future__ import annotations

from tensorboardX import SummaryWriter
from tqdm import tqdm

from btjax.runs.run import Run
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


class StepBar:
    """A progress bar over the steps of one run, or of several that train together, with the means of their metrics."""

    def __init__(self):
        self._bar, self._totals, self._done, self._means = None, {}, {}, {}

    def start(self, name: str, done: int, total: int) -> None:
        """A run begins."""
        self._totals[name], self._done[name] = total, done
        if self._bar is None:
            self._bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True)
        else:
            self._bar.total, self._bar.initial = sum(self._totals.values()), sum(self._done.values())
            self._bar.n = self._bar.last_print_n = self._bar.initial

    def show(self, name: str, done: int, description: str, means: dict[str, float]) -> None:
        """A run has taken steps."""
        self._done[name], self._means[name] = done, means
        self._bar.update(sum(self._done.values()) - self._bar.n)
        self._bar.set_description(description)
        rows = list(self._means.values())
        self._bar.set_postfix({key: f"{sum(row[key] for row in rows) / len(rows):.4f}" for key in means})

    def write(self, line: str) -> None:
        """Writes a line above the bar."""
        self._bar.write(line)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()


class Console(Observer):
    """Shows a run on the terminal, and keeps metrics.jsonl and the TensorBoard log.

    Args:
      epochs: of the run.
      run: its folder.
      bar: the bar of the runs that train together; None for one of its own.
      name: the run's among these.
    """

    def __init__(self, epochs: int, run: Run, bar: StepBar | None = None, name: str = ""):
        self._epochs, self._run, self._bar, self._name = epochs, run, bar or StepBar(), name
        self._writer = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()
        if self._writer is not None:
            self._writer.close()

    def on_start(self, progress: Progress, steps_per_epoch: int) -> None:
        total, done = self._epochs * steps_per_epoch, progress.epoch * steps_per_epoch + progress.steps
        self._steps_per_epoch = steps_per_epoch
        self._bar.start(self._name, done, total)
        self._run.write_metrics(progress.history)
        # What a killed run logged past its last checkpoint will be logged again.
        last_step = progress.history[-1]["step"] if progress.history else 0
        self._writer = SummaryWriter(str(self._run.folder / "tensorboard"), purge_step=last_step + 1)

    def on_steps(self, progress: Progress, means: dict[str, float]) -> None:
        done = progress.epoch * self._steps_per_epoch + progress.steps
        self._bar.show(self._name, done, f"epoch {progress.epoch + 1}/{self._epochs}", means)

    def on_epoch(self, progress: Progress) -> None:
        row = progress.history[-1]
        self._run.write_metrics(progress.history)
        for name in row.keys() - {"epoch", "step"}:
            self._writer.add_scalar(name, row[name], row["step"])
        best = " (best)" if progress.best is row else ""
        sides = (
            side + "".join(f" {name.removeprefix(side)[1:]} {row[name]:.4f}" for name in row if name.startswith(side))
            for side in ("train", "validation")
        )
        name = f"{self._name}  " if self._name else ""
        self._bar.write(f"{name}epoch {row['epoch']:3d}  {'  '.join(sides)}  {row['seconds']:.0f} s{best}")
