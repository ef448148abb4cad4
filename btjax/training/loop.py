"""The training loop: epochs of compiled chunks, validation, checkpoints, early stopping, interruption, resumption."""

from __future__ import annotations

import dataclasses
import signal
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from btjax.data.slices import Slices
from btjax.data.splits import Split
from btjax.errors import InputError
from btjax.training import step as compiled
from btjax.training.optimizers import TrainingConfig, make_optimizer, make_schedule
from btjax.training.state import PLATEAU, create_state

_CHUNK_SECONDS = 1.0  # how often the host looks in: for the progress bar, for Ctrl-C, for values that are not finite


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


class Interrupted(Exception):
    """The run was asked to stop (Ctrl-C, SIGTERM); it saved a checkpoint first. `signal` is the signal's number."""

    def __init__(self, signal_number: int, epoch: int, steps: int):
        super().__init__(f"stopped in epoch {epoch + 1} after {steps} of its steps; --resume continues from here")
        self.signal = signal_number


class NotFinite(InputError):
    """A loss or gradient was infinite or not a number; the last checkpoint is older than that step."""


class Observer:
    """What a training run tells while it runs; override what is of interest."""

    def on_start(self, progress: Progress, steps_per_epoch: int) -> None:
        """Training begins, or resumes at `progress`."""

    def on_steps(self, progress: Progress, means: dict[str, float]) -> None:
        """Some steps of an epoch were taken; `means` are the epoch's metrics so far."""

    def on_epoch(self, progress: Progress) -> None:
        """An epoch is complete; its metrics are `progress.history[-1]`."""


class _StopRequest:
    """Context in which SIGINT and SIGTERM only leave a note; a second SIGINT interrupts at once."""

    def __init__(self):
        self.signal = None

    def _handle(self, number, frame):
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def __enter__(self):
        self._previous = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class Trainer:
    """Trains one model on one split.

    Args:
      task: see `btjax.training.tasks`.
      config: the options.
      slices: the data set; its images and labels are put on the device once, as uint8 and int32.
      split: rows for training and validation; the test rows are not looked at.
      seed: seed of the parameters, the data order, the augmentation and the dropout.
      checkpoints: where to save, or None to save nothing.
    """

    def __init__(self, task, config: TrainingConfig, slices: Slices, split: Split, seed: int, checkpoints=None):
        self.task, self.config, self.checkpoints = task, config, checkpoints
        self.steps_per_epoch = compiled.steps_per_pass(len(split.train), config.batch_size)
        self.dataset = {"images": jnp.asarray(slices.images), "labels": jnp.asarray(slices.labels, jnp.int32)}
        self.train_rows = jnp.asarray(split.train)
        self.validation = compiled.batch_table(jnp.asarray(split.validation), config.batch_size)
        self.schedule = make_schedule(config, self.steps_per_epoch)
        optimizer = make_optimizer(config, self.steps_per_epoch)
        size = slices.images.shape[1]
        inputs = jax.ShapeDtypeStruct((1, size, size, task.preprocessing.channels), jnp.float32)
        self.state = create_state(task.model, optimizer, inputs, jax.random.key(seed))
        self._zero_sums = partial(compiled.zero_sums, task, self.dataset, self.state)
        self._sums = self._zero_sums()
        self.train_chunk = compiled.make_train_chunk(task, optimizer)
        self.evaluate = compiled.make_evaluate(task)
        self.progress = Progress()
        self._chunk = 1

    def restore(self) -> None:
        """Goes back to the last checkpoint, to continue with the same bits as if training had never stopped.

        Raises:
          InputError: there is no checkpoint, or it is of another architecture.
        """
        self.state, self._sums, progress = self.checkpoints.load_last(self.state, self._sums)
        self.progress = Progress(**progress)

    def fit(self, observer: Observer | None = None) -> Progress:
        """Trains to the last epoch, or until early stopping.

        Args:
          observer: is told of every chunk and epoch.

        Returns:
          The run's progress; `self.state` is the final state, the best model is in the checkpoint "best".

        Raises:
          Interrupted: SIGINT or SIGTERM came; a checkpoint was saved.
          NotFinite: a loss or gradient was not finite; nothing was saved since.
          InputError: a checkpoint cannot be written.
        """
        observer = observer or Observer()
        observer.on_start(self.progress, self.steps_per_epoch)
        with _StopRequest() as stop:
            while not self._finished():
                self._train_epoch(observer, stop)
                self._finish_epoch()
                observer.on_epoch(self.progress)
        return self.progress

    def _finished(self) -> bool:
        progress, patience = self.progress, self.config.patience
        waited = progress.epoch - (progress.best["epoch"] if progress.best else 0)
        return progress.epoch >= self.config.epochs or 0 < patience <= waited

    def _train_epoch(self, observer: Observer, stop: _StopRequest) -> None:
        """Takes the remaining steps of the epoch in chunks of about a second."""
        progress = self.progress
        batches = compiled.shuffled_batches(
            self.state.key, jnp.int32(progress.epoch), self.train_rows, self.config.batch_size
        )
        began = time.perf_counter()
        while progress.steps < self.steps_per_epoch:
            until = min(progress.steps + self._chunk, self.steps_per_epoch)
            self.state, self._sums = self.train_chunk(
                self.state, self._sums, self.dataset, *batches, jnp.int32(progress.steps), jnp.int32(until)
            )
            sums = jax.device_get(self._sums)
            seconds, began = time.perf_counter() - began, time.perf_counter()
            progress.seconds += seconds
            # The first chunk's time is mostly compilation: chunks begin with one step and at most double.
            pace = round((until - progress.steps) * _CHUNK_SECONDS / seconds)
            self._chunk = max(1, min(2 * self._chunk, pace))
            progress.steps = until
            self._check_finite(sums)
            observer.on_steps(progress, compiled.means(sums))
            if stop.signal is not None:
                self._save_last()
                raise Interrupted(stop.signal, progress.epoch, progress.steps)

    def _check_finite(self, sums: dict[str, np.ndarray]) -> None:
        fault = compiled.not_finite(sums)
        if fault:
            kept = "the last checkpoint is older" if self.checkpoints and self.checkpoints.exists("last") else "none"
            raise NotFinite(
                f"the {fault[0]} of step {fault[1] + 1} (epoch {self.progress.epoch + 1}) is not finite; "
                f"checkpoint: {kept}; try a lower --learning_rate or --dtype=float32"
            )

    def _finish_epoch(self) -> None:
        """Validates, chooses, saves; the checkpoint to resume from comes last, since it vouches for the others."""
        progress, began = self.progress, time.perf_counter()
        train = compiled.means(jax.device_get(self._sums))
        validation = compiled.means(jax.device_get(self.evaluate(self.state.variables, self.dataset, *self.validation)))
        progress.seconds += time.perf_counter() - began
        if not np.isfinite(validation["loss"]):
            raise NotFinite(f"the validation loss after epoch {progress.epoch + 1} is not finite")
        progress.epoch, progress.steps, self._sums = progress.epoch + 1, 0, self._zero_sums()
        learning_rate = float(self.schedule(int(self.state.step) - 1)) * float(self.state.plateau.scale)
        row = {"epoch": progress.epoch, "step": int(self.state.step)}
        row |= {f"train_{name}": value for name, value in train.items()}
        row |= {f"validation_{name}": value for name, value in validation.items()}
        row |= {"learning_rate": learning_rate, "seconds": round(progress.seconds, 3)}
        progress.history.append(row)
        if self._is_better(row):
            progress.best = row
            if self.checkpoints:
                self.checkpoints.save_best(self.state, dataclasses.asdict(progress))
        if self.config.schedule == "plateau":
            _, plateau = PLATEAU.update({}, self.state.plateau, value=row["validation_loss"])
            self.state = self.state.replace(plateau=plateau)
        if self._finished() or progress.epoch % self.config.checkpoint_every == 0:
            self._save_last()

    def _is_better(self, row: dict[str, float]) -> bool:
        """Whether a row beats the best; equal accuracies are decided by the loss."""

        def score(row):
            loss = -row["validation_loss"]
            return (row["validation_accuracy"], loss) if self.config.select == "validation_accuracy" else (loss,)

        return self.progress.best is None or score(row) > score(self.progress.best)

    def _save_last(self) -> None:
        if self.checkpoints:
            self.checkpoints.save_last(self.state, self._sums, dataclasses.asdict(self.progress))
