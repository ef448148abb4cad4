"""Logits and features of a run's network in one pass: what predicting other people's slices asks of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from btjax.base.batches import padded_batches
from btjax.base.errors import InputError
from btjax.evaluation.typical import Seen, Typical
from btjax.runs.arrays import load_arrays, save_arrays
from btjax.systems.system import find_system

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from btjax.runs.run import Run

TYPICAL = "typical.npz"
"""The file of a run's folder that says how its training slices look to it."""

SCHEMA = 1

_WIDEST = 1024
"""Statistics of more channels, as VGG16's, are projected onto as many random directions, which keep distances."""

_GRID = 32
"""Rows and columns that tell the mean of a map: reading all of a wide one takes long beside a small network."""

Arrays = tuple[jax.Array, jax.Array, jax.Array]


class Eye:
    """A run's network as it looks at slices: logits, penultimate layer and statistics of its stages.

    Attributes:
      run: the classifier's run.
      size: S, the side of its slices in pixels.
    """

    def __init__(self, run: Run, *, wide: bool = True) -> None:
        """Restores the run.

        Args:
          run: the classifier's run.
          wide: whether the statistics are computed; without them `Seen.wide` has no columns.

        Raises:
          InputError: no classifier's run, or one without a network.
        """
        if find_system(run.config.system).fitted:
            raise InputError(f"{run.folder}: {run.config.system} needs the tumour's outline; expected a network's run")
        run.require_classifier()
        self.run, self.size = run, run.config.data.image_size
        self._variables, self._head = run.variables, run.head
        self._look = jax.jit(look_of(run, wide))

    def start(self, images: np.ndarray) -> Arrays:
        """Starts the network on uint8 [B, S, S]; `finish` waits for it. Compiles for each new B."""
        return self._look(self._variables, images)

    def finish(self, arrays: Arrays) -> Seen:
        """What `start` was begun for."""
        logits, deep, wide = map(np.asarray, arrays)
        return Seen(logits if self._head is None else self._head.logits(deep), deep, wide)

    def see(self, images: np.ndarray, batch_size: int = 32) -> Seen:
        """All rows of uint8 [N, S, S], batch by batch."""
        self.run.check_images(images)
        parts = [self.finish(self.start(batch)) for _, batch in padded_batches(min(batch_size, len(images)), images)]
        columns = zip(*((part.logits, part.deep, part.wide) for part in parts), strict=True)
        return Seen(*(np.concatenate(column)[: len(images)] for column in columns))


def look_of(run: Run, all_stages: bool) -> Callable[[dict[str, Any], jax.Array], Arrays]:
    """The function from variables and uint8 [B, S, S] to logits, penultimate layer and statistics of the stages.

    Args:
      run: a classifier's, with a network.
      all_stages: whether the statistics are computed; without them they have no columns.

    Returns:
      A function to float32 [B, C] (zeros under a classical head), [B, P] and [B, W].
    """
    model, preprocessing, head = run.model, run.config.preprocessing, run.head
    last = None if head is None else run.checkpoints.progress("best")["features"]
    stages = model.layers if last is None else model.layers[: model.layers.index(last) + 1]

    def look(variables: dict[str, Any], images: jax.Array) -> Arrays:
        output: Any = preprocessing(images)
        start, wide, deep = None, [], None
        for stage in stages:
            if head is None and stage == model.layers[-1]:
                deep = output
            output = model.apply(variables, output, start=start, stop=stage)
            start = stage
            shown = output[0] if isinstance(output, tuple) else output
            if all_stages and shown.ndim == 4 and stage in variables["params"]:
                wide += _statistics(shown.astype(jnp.float32))
        deep = _flat(output if deep is None else deep)
        logits: Any = output if head is None else jnp.zeros((images.shape[0], 0), jnp.float32)
        wide = _narrow(jnp.concatenate([*wide, deep], axis=1)) if all_stages else deep[:, :0]
        return logits, deep, wide

    return look


def _statistics(maps: jax.Array) -> list[jax.Array]:
    """Mean and deviation of each channel of float32 [B, h, w, K], over a grid of `_GRID` or more rows and columns."""
    height, width = maps.shape[1:3]
    maps = maps[:, :: max(1, height // _GRID), :: max(1, width // _GRID)]
    mean = maps.mean(axis=(1, 2))
    square = jnp.square(maps).mean(axis=(1, 2))
    return [mean, jnp.sqrt(jnp.maximum(square - jnp.square(mean), np.float32(0)))]


def _flat(output: Any) -> jax.Array:
    """A stage's output as float32 [B, P]."""
    shown = output[0] if isinstance(output, tuple) else output
    return shown.reshape(shown.shape[0], -1).astype(jnp.float32)


def _narrow(wide: jax.Array) -> jax.Array:
    """float32 [B, W] as it is, or projected onto `_WIDEST` random directions."""
    width = wide.shape[1]
    if width <= 2 * _WIDEST:
        return wide
    directions = jax.random.rademacher(jax.random.key(0), (width, _WIDEST), jnp.float32)
    return wide @ directions / np.float32(np.sqrt(_WIDEST))


def load_typical(run: Run) -> Typical | None:
    """What the run's folder keeps of its training slices; None where it keeps nothing of its present checkpoint.

    Raises:
      InputError: the file is damaged.
    """
    path = run.folder / TYPICAL
    if not path.exists():
        return None
    mark, typical = load_arrays(path, SCHEMA, "typical slices", lambda held: (str(held["mark"]), Typical.of(held)))
    return typical if mark == _kept_mark(run) else None


def save_typical(path: pathlib.Path, run: Run, typical: Typical) -> None:
    """Writes what `load_typical` reads."""
    save_arrays(path, SCHEMA, {"mark": np.array(_kept_mark(run)), **typical.arrays()})


def _kept_mark(run: Run) -> str:
    """The mark of a run's variables and of how the statistics are taken: those taken otherwise are made anew."""
    return f"{mark_of(run)} grid {_GRID}"


def mark_of(run: Run) -> str:
    """Sixteen hexadecimal digits that tell a run's variables from others."""
    import hashlib

    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(run.variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]
