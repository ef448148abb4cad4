"""The training loop: epochs of compiled chunks, validation, checkpoints, early stopping, interruption, resumption."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from btjax.base.batches import whole_number
from btjax.base.errors import InputError
from btjax.base.progress import Observer
from btjax.data.records import RecordsLost
from btjax.training import step as compiled
from btjax.training.balance import balanced_weights
from btjax.training.examples import check_examples
from btjax.training.hosts import agree, replicate
from btjax.training.optimizers import PLATEAU, make_optimizer, make_schedule
from btjax.training.progress import Interrupted, NotFinite, Progress, StopRequest, is_finished
from btjax.training.source import make_source
from btjax.training.state import create_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from btjax.base.checkpoints import Checkpoints
    from btjax.training.config import TrainingConfig
    from btjax.training.examples import Examples
    from btjax.training.source import Block
    from btjax.training.step import Batches, WeightedBatches
    from btjax.training.tasks import Task

# How often the host takes over: for the progress bar, for Ctrl-C, for values that are not finite. Each chunk asks the
# system for its memory again: the fewer, the faster.
_CHUNK_SECONDS = 3.0
_SAVE_SECONDS = 900.0  # how often a checkpoint is saved within an epoch, which may last hours


def _shardings(config: TrainingConfig) -> tuple[NamedSharding, NamedSharding | None]:
    """Where arrays lie: whole on every device, and batches divided among the devices (None for one device).

    Raises:
      InputError: more devices than there are, or a batch that they do not divide.
    """
    if not 1 <= config.devices <= jax.device_count():
        raise InputError(f"--devices={config.devices}: expected 1 to {jax.device_count()}, the devices that JAX sees")
    several = jax.process_count()
    if several > 1 and config.devices != jax.device_count():
        raise InputError(f"--devices={config.devices}: expected {jax.device_count()}, those of all {several} processes")
    if config.batch_size % config.devices:
        raise InputError(f"--batch_size={config.batch_size}: expected a multiple of --devices={config.devices}")
    mesh = jax.make_mesh(
        (config.devices,), ("batch",), axis_types=(AxisType.Auto,), devices=jax.devices()[: config.devices]
    )
    divided = NamedSharding(mesh, PartitionSpec("batch")) if config.devices > 1 else None
    return NamedSharding(mesh, PartitionSpec()), divided


def next_chunk(chunk: int, taken: int, seconds: float) -> int:
    """Steps for the next chunk, after one of `chunk` took `taken` steps in `seconds`: about `_CHUNK_SECONDS`' worth."""
    # The first chunk's time is mostly compilation: chunks begin with one step and at most double.
    return max(1, min(2 * chunk, round(taken * _CHUNK_SECONDS / seconds)))


def kept_name(epoch: int) -> str:
    """The name of an epoch's checkpoint under the option `keep_every`."""
    return f"epoch_{epoch}"


class Trainer:
    """Trains one model on one split.

    Args:
      task: see `btjax.training.tasks`.
      config: the options.
      examples: what to train on.
      seed: seed of the parameters, the data order, the augmentation and the dropout.
      checkpoints: where to save, or None to save nothing.
      pretrained: variables {"params", "batch_stats"} of some stages to begin with, or None.
      like: a trainer of the same task on the same images and labels: what lies on the device and what was compiled to
        make a fresh state is shared.

    Raises:
      InputError: devices that do not fit, pretrained variables or `layer_rates` that are not the model's, or unknown
        labels for a task that needs them.
      ValueError: a batch size below 1, or labels that are not indices of the model's classes.
    """

    def __init__(
        self,
        task: Task,
        config: TrainingConfig,
        examples: Examples,
        seed: int,
        checkpoints: Checkpoints | None = None,
        *,
        pretrained: dict[str, Any] | None = None,
        like: Trainer | None = None,
    ) -> None:
        self.config, self.checkpoints = config, checkpoints
        whole_number(config.batch_size, "batch_size")
        check_examples(task, config, examples)
        if config.permuted_labels:
            examples = examples.with_permuted_labels(seed)
        self.steps_per_epoch = compiled.steps_per_pass(examples.train.shape[1], config.batch_size)
        whole, divided = _shardings(config)
        put = partial(replicate, sharding=whole)
        self.source = like.source if like else make_source(examples, put)
        self.labels = put(examples.labels)
        self.train_rows = [put(rows) for rows in examples.train]
        balanced = config.class_weights == "balanced"
        self.class_weights = put(balanced_weights(examples.labels[examples.train])) if balanced else None
        rows = examples.validation
        self.validation = put(compiled.batch_table(rows, config.batch_size)) if len(rows) else None
        self.schedule = make_schedule(config, self.steps_per_epoch)
        optimizer = make_optimizer(config, self.steps_per_epoch)
        fresh = partial(task.initialise, image_size=examples.image_size), optimizer
        self._fresh = like._fresh if like else fresh  # the same functions: JAX finds what it compiled
        initialise, first = self._fresh
        rates = (*(f"{name}/*=0" for name in getattr(task.model, "frozen", ())), *config.layer_rates)
        key = jax.random.key(seed, impl=config.prng)
        self.state = put(create_state(initialise, first, key, rates, pretrained, averaged=config.averaged > 0))
        self.task = task = task.with_trained(self.state.params)
        self._zero_sums = lambda: put(compiled.zero_sums(task, self.source.shapes, self.state))
        self.sums = self._zero_sums()
        self.train_chunk = compiled.make_train_chunk(task, optimizer, divided, config.averaged)
        self.evaluate = compiled.make_evaluate(task, divided)
        self.progress = Progress()
        self._chunk, self._saved = 1, time.monotonic()

    @property
    def dataset(self) -> compiled.Dataset:
        """What lies on the device; of a stream the shapes of its rows."""
        return self.source.shapes

    def restore(self, observer: Observer | None = None) -> None:
        """Goes back to the last checkpoint, to continue with the same bits as if training had never stopped.

        Where the last one is damaged, the one before it does: the steps between them are taken again. A damaged best
        checkpoint is saved again where the restored state is that of its epoch; else the run goes on towards a better
        epoch, which takes its place, unless it has none left to train.

        Args:
          observer: is told of what is damaged.

        Raises:
          InputError: there is no checkpoint, it is of another architecture, or damaged and so is the one before it; or
            the best checkpoint of a run that is trained to its end is damaged.
          ValueError: the trainer was made without checkpoints.
        """
        if self.checkpoints is None:
            raise ValueError("restore needs checkpoints: Trainer was made with checkpoints=None")
        observer = observer or Observer()
        loaded, progress = self.checkpoints.load("last", {"state": self.state, "sums": self.sums}, observer)
        self.state, self.sums = loaded["state"], loaded["sums"]
        self.progress = Progress.of(progress, self.checkpoints.folder / "last")
        if self.progress.best is not None:
            self._check_best(self.checkpoints, self.progress.best["epoch"], observer)

    def _check_best(self, checkpoints: Checkpoints, epoch: float, observer: Observer) -> None:
        """Sees to a best checkpoint that cannot be used before hours of training end at it; see `restore`."""
        try:
            checkpoints.load("best", self.state.judged)
        except InputError as error:
            if (self.progress.epoch, self.progress.steps) == (epoch, 0):
                self._save_best(checkpoints)
                observer.on_message(f"note: {error}; saved again from the checkpoint of the same epoch")
            elif self.finished():
                raise
            else:
                observer.on_message(
                    f"note: {error}; a better epoch takes its place, without one the run cannot be used"
                )

    def _save_best(self, checkpoints: Checkpoints) -> None:
        checkpoints.save("best", self.state.judged, int(self.state.step), dataclasses.asdict(self.progress))

    def fit(self, observer: Observer | None = None) -> Progress:
        """Trains to the last epoch, or until early stopping.

        Args:
          observer: is called after every chunk and epoch.

        Returns:
          The run's progress; `self.state` is the final state, the best model is in the checkpoint "best".

        Raises:
          Interrupted: SIGINT or SIGTERM came; a checkpoint was saved.
          NotFinite: a loss or gradient was not finite; nothing was saved since.
          RecordsLost: a file that slices are read from has changed or is cut off; a checkpoint was saved.
          InputError: a checkpoint cannot be written.
        """
        observer = observer or Observer()
        observer.on_start(self.progress, self.steps_per_epoch, self.config.epochs)
        with StopRequest() as stop, self._saving_where_records_are_lost():
            while not self.finished():
                self._train_epoch(observer, stop)
                self._finish_epoch()
                observer.on_epoch(self.progress)
                (number,) = agree(stop.signal)
                if number and not self.finished():
                    self.save_last()
                    raise Interrupted(number, self.progress)
        return self.progress

    @contextlib.contextmanager
    def _saving_where_records_are_lost(self) -> Iterator[None]:
        """What was trained is not lost with the files: it goes on once they are prepared again."""
        try:
            yield
        except RecordsLost as error:
            self.save_last()
            raise RecordsLost(f"{error}{'; --resume continues from here' if self.checkpoints else ''}") from error

    def finished(self) -> bool:
        """Whether the last epoch is done, or early stopping has ended the run."""
        return is_finished(self.config, self.progress)

    def batches(self) -> Batches | WeightedBatches:
        """The batches of the epoch that the run is in, as `step.shuffled_batches` gives them, with weights if any."""
        rows = self.train_rows[self.progress.epoch % len(self.train_rows)]
        key, epoch = self.state.key, jnp.int32(self.progress.epoch)
        batches = compiled.shuffled_batches(key, epoch, rows, self.config.batch_size)
        if self.class_weights is None:
            return batches
        return compiled.weighted_batches(batches, self.labels, self.class_weights)

    def _train_epoch(self, observer: Observer, stop: StopRequest) -> None:
        """Takes the remaining steps of the epoch, block by block."""
        self._began = time.perf_counter()
        with contextlib.closing(self.source.blocks(self.batches(), self.progress.steps)) as blocks:
            for block in blocks:
                self._train_block(block, observer, stop)

    def _train_block(self, block: Block, observer: Observer, stop: StopRequest) -> None:
        """Takes the remaining steps of a block in chunks of a few seconds."""
        progress = self.progress
        while progress.steps < block.stop:
            until = min(progress.steps + self._chunk, block.stop)
            bounds = jnp.int32(progress.steps - block.first), jnp.int32(until - block.first)
            carry = self.state, self.sums
            self.state, self.sums = self.train_chunk(carry, block.dataset, block.batches, *bounds)
            sums = jax.device_get(self.sums)
            seconds, self._began = time.perf_counter() - self._began, time.perf_counter()
            progress.seconds += seconds
            chunk = next_chunk(self._chunk, until - progress.steps, seconds)
            progress.steps = until
            self.check_finite(sums)
            observer.on_steps(progress, compiled.means(sums))
            self._chunk, number, due = agree(chunk, stop.signal, self.save_is_due())
            unfinished = until < self.steps_per_epoch
            if unfinished and (number or due):
                self.save_last()
            if unfinished and number:
                raise Interrupted(number, progress)

    def check_finite(self, sums: dict[str, np.ndarray]) -> None:
        """Raises NotFinite where the epoch's sums so far say that a loss or gradient was not finite."""
        fault = compiled.not_finite(sums)
        if fault:
            self._raise_not_finite(f"the {fault[0]} of step {fault[1] + 1}")

    def _raise_not_finite(self, what: str) -> None:
        saved = self.checkpoints and self.checkpoints.exists("last")
        kept = "the last good checkpoint is kept" if saved else "there is no checkpoint yet"
        epoch = self.progress.epoch + (self.progress.steps > 0)  # an epoch that has ended is counted already
        raise NotFinite(f"{what} (epoch {epoch}) is not finite; {kept}; try a lower --learning_rate or --dtype=float32")

    def _finish_epoch(self) -> None:
        if self.validation is None:
            return self.complete_epoch({})
        began = time.perf_counter()
        sums = jax.device_get(self.source.total(self.evaluate, self.state.judged, self.validation))
        self.progress.seconds += time.perf_counter() - began
        return self.complete_epoch(compiled.means(sums))

    def complete_epoch(self, validation: dict[str, float]) -> None:
        """Records the epoch, chooses the best checkpoint and saves.

        The checkpoint to resume from is written last, so that where it is there the others are too.

        Args:
          validation: the means over the validation rows; empty where there are none.

        Raises:
          NotFinite: the validation loss or a parameter is not finite.
          InputError: a checkpoint cannot be written.
        """
        progress, train = self.progress, compiled.means(jax.device_get(self.sums))
        if not np.isfinite(validation.get("loss", 0)):
            self._raise_not_finite(f"the validation loss after step {int(self.state.step)}")
        progress.epoch, progress.steps, self.sums = progress.epoch + 1, 0, self._zero_sums()
        step = int(self.state.step)
        learning_rate = float(np.asarray(self.schedule(step - 1))) * float(np.asarray(self.state.plateau.scale))
        row = {"epoch": progress.epoch, "step": step}
        row |= {f"train_{name}": value for name, value in train.items()}
        row |= {f"validation_{name}": value for name, value in validation.items()}
        row |= {"learning_rate": learning_rate, "seconds": round(progress.seconds, 3)}
        progress.history.append(row)
        if self._is_better(row):
            progress.best = row
            if self.checkpoints:
                self._save_best(self.checkpoints)
        if self.checkpoints and self.config.keep_every and progress.epoch % self.config.keep_every == 0:
            kept = {"epoch": progress.epoch}
            self.checkpoints.save(kept_name(progress.epoch), self.state.judged, step, kept)
        if self.config.schedule == "plateau":
            _, plateau = PLATEAU.update({}, self.state.plateau, value=row["validation_loss"])
            self.state = self.state.replace(plateau=plateau)
        if self.finished() or progress.epoch % self.config.checkpoint_every == 0:
            self.save_last()

    def _is_better(self, row: dict[str, float]) -> bool:
        """Whether a row beats the best; equal accuracies (or Dice) are decided by the loss."""
        select = self.config.select
        if select == "last_epoch":
            return True

        def score(row):
            loss = -row["validation_loss"]
            return (loss,) if select == "validation_loss" else (row[select], loss)

        return self.progress.best is None or score(row) > score(self.progress.best)

    def save_is_due(self) -> bool:
        """Whether the last checkpoint is so old that an unfinished epoch is to be saved."""
        return time.monotonic() - self._saved > _SAVE_SECONDS

    def save_last(self) -> None:
        """Saves the state to resume from; NotFinite where a parameter is not."""
        # A finite gradient can still push a parameter beyond the largest float: such a state must not be saved.
        if not bool(compiled.is_finite(self.state.params)):
            self._raise_not_finite(f"a parameter after step {int(self.state.step)}")
        self._saved = time.monotonic()
        if self.checkpoints:
            tree = {"state": self.state, "sums": self.sums}
            self.checkpoints.save("last", tree, int(self.state.step), dataclasses.asdict(self.progress))
