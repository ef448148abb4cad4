"""Progress bars for the terminal and for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from btjax.base.progress import Observer

if TYPE_CHECKING:
    from tqdm.std import tqdm


class DataBars:
    """A progress bar for each thing that is prepared, read or downloaded: called as `bars(what, done, total)`."""

    def __init__(self, unit: str = "") -> None:
        """`unit` stands beside the rate: "B" for bytes, which are written in thousands; none where `what` says it."""
        self._unit, self._bar, self._what = unit, None, None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Shows how far something is."""
        if what != self._what or self._bar is None:
            self.close()
            self._bar = _tqdm(total=total or None, desc=what, unit=self._unit, unit_scale=self._unit == "B")
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
        self._bar: tqdm | None = None
        self._totals: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._means: dict[str, dict[str, float]] = {}

    def start(self, name: str, done: int, total: int) -> None:
        """A run begins."""
        self._totals[name], self._done[name] = total, done
        if self._bar is None:
            self._bar = _tqdm(total=total, initial=done, unit="step")
        else:
            self._bar.total, self._bar.initial = sum(self._totals.values()), sum(self._done.values())
            self._bar.n = self._bar.last_print_n = self._bar.initial

    def show(self, name: str, done: int, description: str, means: dict[str, float]) -> None:
        """A run has taken steps."""
        self._done[name], self._means[name] = done, means
        if self._bar is None:
            return
        self._bar.update(sum(self._done.values()) - self._bar.n)
        self._bar.set_description(description)
        rows = list(self._means.values())
        self._bar.set_postfix({key: f"{sum(row[key] for row in rows) / len(rows):.4f}" for key in means})
        if self._bar.n >= (self._bar.total or 0):
            self._bar.refresh()

    def write(self, line: str) -> None:
        """Writes a line above the bar."""
        if self._bar is not None:
            self._bar.write(line)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None


class ProgressBar(Observer):
    """Shows a run while it is prepared and trained.

    Args:
      name: of the run among several that train together.
      steps: the bar of these; None for one of its own.
      messages: whether lines such as the data set's form and the split are written too.

    Example:
      >>> import btjax
      >>> run = btjax.train(config, "runs/cnn", observer=btjax.ProgressBar())  # doctest: +SKIP
    """

    def __init__(self, name: str = "", steps: StepBar | None = None, messages: bool = True) -> None:
        self._name, self._steps, self._messages = name, steps or StepBar(), messages
        self._data = DataBars()
        self._steps_per_epoch = self._epochs = 0

    def on_data(self, what: str, done: int, total: int) -> None:
        """Shows what is prepared."""
        self._data(what, done, total)

    def on_message(self, text: str) -> None:
        """Writes a line."""
        if self._messages:
            _write(text)

    def on_start(self, progress: Any, steps_per_epoch: int, epochs: int) -> None:
        """Begins the bar of the steps."""
        self._data.close()
        self._steps_per_epoch, self._epochs = steps_per_epoch, epochs
        done = progress.epoch * steps_per_epoch + progress.steps
        self._steps.start(self._name, done, epochs * steps_per_epoch)

    def on_steps(self, progress: Any, means: dict[str, float]) -> None:
        """Moves the bar."""
        done = progress.epoch * self._steps_per_epoch + progress.steps
        self._steps.show(self._name, done, f"epoch {progress.epoch + 1}/{self._epochs}", means)

    def on_epoch(self, progress: Any) -> None:
        """Writes the epoch's metrics above the bar."""
        row = progress.history[-1]
        best = " (best)" if progress.best is row else ""
        sides = (
            side + "".join(f" {name.removeprefix(side)[1:]} {row[name]:.4f}" for name in row if name.startswith(side))
            for side in ("train", "validation")
        )
        name = f"{self._name}  " if self._name else ""
        self._steps.write(f"{name}epoch {row['epoch']:3d}  {'  '.join(sides)}  {row['seconds']:.0f} s{best}")

    def on_end(self) -> None:
        """Ends the bars."""
        self._data.close()
        self._steps.close()


def _tqdm(**settings: Any) -> tqdm:
    from tqdm.auto import tqdm

    return tqdm(dynamic_ncols=True, **settings)


def _write(text: str) -> None:
    from tqdm.auto import tqdm

    tqdm.write(text)
