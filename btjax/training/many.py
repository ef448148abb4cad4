"""Many runs in one program: the folds of a cross-validation, or an ensemble of seeds.

The runs share a config, the images and labels on the device, and the compiled programs; each has its own rows, seed,
random keys, optimizer state, schedule, best checkpoint and early stopping, and gives what it would give alone. Their
states are stacked along a leading axis. A program takes each run's first and last step, so that a run that has fewer
steps in its epoch, or has stopped, takes none while the others continue.

How the program runs them depends on the platform. On CPU they take turns (`jax.lax.map`): one run's matrix products
keep all cores busy, its working set fits in the caches, and the result is bit for bit that of the run alone; what is
saved is compilation. Elsewhere they run side by side (`jax.vmap`), which fills a device that one small
model leaves idle; sums are then taken in another order.
"""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from btjax.base.errors import InputError
from btjax.base.progress import Observer
from btjax.base.rows import LazyRows
from btjax.training import step as compiled
from btjax.training.loop import Trainer, next_chunk
from btjax.training.optimizers import make_optimizer
from btjax.training.progress import Interrupted, NotFinite, Progress, StopRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from btjax.base.checkpoints import Checkpoints
    from btjax.training.config import TrainingConfig
    from btjax.training.examples import Examples
    from btjax.training.tasks import Task


class ManyTrainer:
    """Trains several models of one config in one program.

    Args:
      task: see `btjax.training.tasks`.
      config: the options; batches cannot be divided among devices.
      examples: what each run trains on; images and labels are the same in all.
      seeds: of each run.
      checkpoints: where each run saves, or None to save nothing.
      names: of each run, for errors; "run 0" and so on where there are none.
      pretrained: variables {"params", "batch_stats"} of some stages that every run begins with, or None.
      form: "map" (the runs take turns) or "vmap" (side by side); None for what suits the device of the data set.

    Attributes:
      runs: a `Trainer` for each; their `state` and `progress` are current after every epoch and save.

    Raises:
      InputError: options that many runs cannot share, or examples of different images.
      ValueError: arguments of different lengths.
    """

    def __init__(
        self,
        task: Task,
        config: TrainingConfig,
        examples: Sequence[Examples],
        seeds: Sequence[int],
        checkpoints: Sequence[Checkpoints] | None = None,
        *,
        names: Sequence[str] | None = None,
        pretrained: dict[str, Any] | None = None,
        form: str | None = None,
    ) -> None:
        _check(config, examples)
        self.names = list(names or (f"run {index}" for index in range(len(examples))))
        self.runs: list[Trainer] = []
        places = checkpoints or [None] * len(examples)
        for one, seed, place, _ in zip(examples, seeds, places, self.names, strict=True):
            like = self.runs[0] if self.runs else None
            self.runs.append(Trainer(task, config, one, seed, place, pretrained=pretrained, like=like))
        self.dataset = self.runs[0].dataset
        form = form or suitable_form(self.dataset)
        if form == "vmap" and config.prng == "rbg":
            raise InputError(
                "--prng=rbg: gives other bits side by side than alone, expected threefry2x32 for several runs"
            )
        lengths = sorted({run.steps_per_epoch for run in self.runs})
        self._which = _int32([lengths.index(run.steps_per_epoch) for run in self.runs])
        tables = [run.validation for run in self.runs if run.validation is not None]
        self._validation = _stack_batches(tables) if len(tables) == len(self.runs) else None
        self.train_chunk, self.evaluate = make_many(self.runs[0].task, config, lengths, form)
        self._chunk = 1

    def restore(self, index: int, observer: Observer | None = None) -> None:
        """`Trainer.restore` of one run; runs need not stand at the same epoch."""
        self.runs[index].restore(observer)

    def fit(self, observers: Sequence[Observer] | None = None) -> list[Progress]:
        """Trains every run to its last epoch, or until its early stopping.

        Args:
          observers: one for each run, told of its chunks and epochs.

        Returns:
          The runs' progress. A run's `seconds` are its share: the time divided by the number of runs that trained.

        Raises:
          Interrupted: SIGINT or SIGTERM came; a checkpoint of every run was saved.
          NotFinite: a loss or gradient was not finite; the message begins with the run's name.
          InputError: a checkpoint cannot be written.
        """
        observers = observers or [Observer()] * len(self.runs)
        for run, observer in zip(self.runs, observers, strict=True):
            observer.on_start(run.progress, run.steps_per_epoch, run.config.epochs)
        with StopRequest() as stop:
            while active := self._unfinished():
                self._train_epoch(active, observers, stop)
                for index, validation in zip(active, self._validate(active), strict=True):
                    with self._named(index) as run:
                        run.complete_epoch(validation)
                    observers[index].on_epoch(run.progress)
                if stop.signal and (rest := self._unfinished()):
                    self._save(rest)
                    raise Interrupted(stop.signal, self.runs[rest[0]].progress)
        return [run.progress for run in self.runs]

    def _unfinished(self) -> list[int]:
        return [index for index, run in enumerate(self.runs) if not run.finished()]

    def _train_epoch(self, active: list[int], observers: Sequence[Observer], stop: StopRequest) -> None:
        """Takes the remaining steps of each active run's epoch in chunks of a few seconds."""
        batches = _stack_batches([run.batches() for run in self.runs])
        carry = _stack([(run.state, run.sums) for run in self.runs])
        starts = [run.progress.steps for run in self.runs]
        ends = [run.steps_per_epoch if index in active else starts[index] for index, run in enumerate(self.runs)]
        began = time.perf_counter()
        while starts != ends:
            stops = [min(start + self._chunk, end) for start, end in zip(starts, ends, strict=True)]
            bounds = _int32(starts), _int32(stops)
            carry = self.train_chunk(self.dataset, carry, self._which, batches, *bounds)
            sums = _rows(jax.device_get(carry[1]), len(self.runs))
            seconds, began = time.perf_counter() - began, time.perf_counter()
            taken = [stop - start for start, stop in zip(starts, stops, strict=True)]
            self._chunk, starts = next_chunk(self._chunk, max(taken), seconds), stops
            for index in active:
                with self._named(index) as run:
                    run.progress.seconds += seconds / len(active)
                    run.progress.steps = stops[index]
                    run.check_finite(sums[index])
                if taken[index]:
                    observers[index].on_steps(run.progress, compiled.means(sums[index]))
            unfinished = starts != ends
            if unfinished and (stop.signal or self.runs[active[0]].save_is_due()):
                self._take_apart(carry)
                self._save(active)
            if unfinished and stop.signal:
                raise Interrupted(stop.signal, self.runs[active[0]].progress)
        self._take_apart(carry)

    def _validate(self, active: list[int]) -> list[dict[str, float]]:
        """The active runs' means over their validation rows; empty where they have none."""
        if self._validation is None:
            return [{} for _ in active]
        began = time.perf_counter()
        variables = _stack([run.state.judged for run in self.runs])
        sums = _rows(jax.device_get(self.evaluate(self.dataset, variables, self._validation)), len(self.runs))
        for index in active:
            self.runs[index].progress.seconds += (time.perf_counter() - began) / len(active)
        return [compiled.means(sums[index]) for index in active]

    def _take_apart(self, carry: Any) -> None:
        """Gives every run its own state and sums."""
        for run, own in zip(self.runs, _unstack(carry, len(self.runs)), strict=True):
            run.state, run.sums = own

    def _save(self, indices: list[int]) -> None:
        for index in indices:
            with self._named(index) as run:
                run.save_last()

    @contextlib.contextmanager
    def _named(self, index: int) -> Iterator[Trainer]:
        """One of the runs; the error about a value that is not finite begins with its name."""
        try:
            yield self.runs[index]
        except NotFinite as error:
            raise NotFinite(f"{self.names[index]}: {error}") from None


def make_many(task: Task, config: TrainingConfig, lengths: Sequence[int], form: str) -> tuple[Callable, Callable]:
    """The compiled programs of many runs.

    Args:
      task: of every run.
      config: of every run.
      lengths: the different numbers of steps in an epoch, sorted.
      form: "map" or "vmap".

    Returns:
      `train_chunk(dataset, (states, sums), which, batches, starts, stops) -> (states, sums)`, `which` the place of each
      run's number of steps in `lengths`; and `evaluate(dataset, variables, batches) -> sums`. What belongs to the runs
      is stacked along a leading axis.
    """
    evaluate = compiled.make_evaluate(task)

    def train_one(dataset, carry, which, *batches_and_bounds):
        train_step = compiled.make_train_step(task, make_optimizer(config, lengths, which), config.averaged)
        return compiled.make_take_steps(train_step)(carry, dataset, *batches_and_bounds)

    def evaluate_one(dataset, variables, batches):
        return evaluate(variables, dataset, *batches)

    return jax.jit(_each(train_one, form), donate_argnums=1), jax.jit(_each(evaluate_one, form))


def suitable_form(dataset: compiled.Dataset) -> str:
    """How runs train fastest where a data set lies: "map" on CPU, "vmap" elsewhere."""
    platforms = {device.platform for array in dataset.values() for device in array.devices()}
    return "map" if platforms == {"cpu"} else "vmap"


def compare_times(
    task: Task, config: TrainingConfig, examples: Sequence[Examples], seeds: Sequence[int], form: str | None = None
) -> dict[str, float]:
    """Trains the same runs in one program and one after the other, without checkpoints.

    Args:
      task: as for `ManyTrainer`, and so are the others.
      config: with at least 2 epochs.
      examples: what each run trains on.
      seeds: of each run.
      form: "map", "vmap" or None.

    Returns:
      Seconds of training: together_seconds and sequence_seconds with all compilation, together_epoch_seconds and
      sequence_epoch_seconds of a later epoch of all runs, without; ratio and epoch_ratio, sequence over together.
    """
    began = time.perf_counter()
    together = ManyTrainer(task, config, examples, seeds, form=form).fit()
    between = time.perf_counter()
    sequence = [Trainer(task, config, one, seed).fit() for one, seed in zip(examples, seeds, strict=True)]
    seconds = {"together": between - began, "sequence": time.perf_counter() - between}

    def epoch(runs: list[Progress]) -> float:
        times = [run.history[-1]["seconds"] - run.history[0]["seconds"] for run in runs]
        return sum(times) / (config.epochs - 1)

    epochs = {"together": epoch(together), "sequence": epoch(sequence)}
    return {
        **{f"{name}_seconds": value for name, value in seconds.items()},
        **{f"{name}_epoch_seconds": value for name, value in epochs.items()},
        "ratio": seconds["sequence"] / seconds["together"],
        "epoch_ratio": epochs["sequence"] / epochs["together"],
    }


def _check(config: TrainingConfig, examples: Sequence[Examples]) -> None:
    if config.devices > 1:
        raise InputError(f"--devices={config.devices}: expected 1, several runs in one program are not divided")
    if any(isinstance(one.images, LazyRows) for one in examples):
        raise InputError("--stream: one run at a time reads its slices from files; leave out --all_folds and --seeds")
    if config.permuted_labels:
        raise InputError("--permuted_labels: gives each run labels of its own; train them one by one")
    for one in examples[1:]:
        for name in ("images", "labels", "masks"):
            own, first = getattr(one, name), getattr(examples[0], name)
            if own is not first and not (own is not None and np.array_equal(own, first)):
                raise InputError(f"several runs in one program share their {name}, found others; train them one by one")


def _each(function: Callable, form: str) -> Callable:
    """`function(dataset, *arguments)` for every run; the arguments are stacked, the data set is one."""

    def each(dataset, *stacked):
        if form == "vmap":
            # A loop whose bounds differ goes on to the last run's; runs that are done keep their values.
            return jax.vmap(partial(function, dataset))(*stacked)
        return lax.map(lambda arguments: function(dataset, *arguments), stacked)

    return each


@jax.jit
def _stack(trees: list) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@partial(jax.jit, static_argnums=1)
def _unstack(tree: Any, count: int) -> list:
    return [jax.tree.map(lambda leaf, index=index: leaf[index], tree) for index in range(count)]


@jax.jit
def _stack_batches(batches: list) -> Any:
    """Batches of several runs as one, [runs, most steps, batch_size]; what is added is row 0, which does not count."""
    steps = max(len(one.table) for one in batches)
    padded = jax.tree.map(lambda part: jnp.pad(part, ((0, steps - len(part)), (0, 0))), batches)
    return jax.tree.map(lambda *parts: jnp.stack(parts), *padded)


def _rows(stacked: dict[str, np.ndarray], count: int) -> list[dict[str, np.ndarray]]:
    """One dict for each run."""
    return [{name: values[index] for name, values in stacked.items()} for index in range(count)]


def _int32(values: list[int]) -> jax.Array:
    return jnp.array(values, jnp.int32)
