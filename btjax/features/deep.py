"""Features: a frozen stage's output for every slice, computed once and kept on disk.

The name of a kept copy is a hash of everything that determines it: the variables of the stage and of those below it,
the program that they run, the preprocessing, the augmentation with its seed, and the slices themselves. So it is never
stale: other inputs lead to another name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import traverse_util

from btjax.base import options
from btjax.base.arrays import load_array, save_array
from btjax.base.batches import padded_batches
from btjax.base.errors import InputError, foreign
from btjax.base.files import make_cache, only_process, sync_folder
from btjax.nn.network import Network, Variables

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from btjax.base.progress import ProgressCallback
    from btjax.data.augment import Augmentation
    from btjax.data.preprocess import Preprocessing

_SHARD_ROWS = 128  # rows in a file: what an interruption loses at most
BATCH_ROWS = 16
"""Rows that a frozen part takes at a time; divides the rows of a file."""

Changes = tuple["Augmentation", int] | None  # random changes of the slices, and their seed


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenPart:
    """The stages of a network up to one of them, in inference mode.

    Attributes:
      model: a network, see `btjax.nn.network`.
      variables: {"params", "batch_stats"} of at least these stages.
      layer: the last of the stages, one of `model.layers`; its output must be a single array.
    """

    model: Network
    variables: Variables
    layer: str

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the part's stages, in order."""
        return self.model.layers[: self.model.layers.index(self.layer) + 1]

    def variables_of(self, stages: tuple[str, ...]) -> Variables:
        """The variables of some of the part's stages."""
        return {
            collection: {name: tree[name] for name in stages if name in tree}
            for collection, tree in self.variables.items()
        }


def highest_frozen(model: Network, trained: dict[str, Any]) -> str | None:
    """The highest stage such that neither it nor any stage below it trains.

    Args:
      model: a network, see `btjax.nn.network`.
      trained: the parameters that train, nested dicts by stage.

    Returns:
      The stage's name, or None where the first stage trains.

    Example:
      >>> from btjax.models.cnn import CNN
      >>> highest_frozen(CNN(widths=(4, 8), pools=2), {"dense": {}, "logits": {}})
      'flatten'
    """
    first = min(model.layers.index(layer) for layer in trained)
    return model.layers[first - 1] if first else None


def highest_cut(model: Network, variables: Variables, inputs: jax.ShapeDtypeStruct, layer: str) -> str | None:
    """The highest stage, up to one of them, whose output is a single array: there features can be taken.

    Args:
      model: a network, see `btjax.nn.network`.
      variables: its variables; shapes suffice.
      inputs: a batch of the network's inputs, [B, S, S, channels]; its shape suffices.
      layer: the stage to look from, downwards, such as `highest_frozen` gives.

    Returns:
      The stage's name, or None where every output up to `layer` is a tuple.
    """
    hidden, start, highest = inputs, None, None
    for name in model.layers[: model.layers.index(layer) + 1]:
        hidden = jax.eval_shape(partial(model.apply, start=start, stop=name), variables, hidden)
        highest = name if isinstance(hidden, jax.ShapeDtypeStruct) else highest
        start = name
    return highest


def compute_features(
    part: FrozenPart,
    preprocessing: Preprocessing,
    images: np.ndarray,
    cache_dir: pathlib.Path,
    *,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> np.ndarray:
    """The output of a frozen part for every slice, from the kept copy where there is one.

    Where the output of a lower stage is kept, the computation continues from it. An interrupted computation continues
    with the files that it had finished. Files that are missing or damaged are made again.

    Args:
      part: the network up to a stage.
      preprocessing: from slices to the network's inputs.
      images: uint8 [N, S, S].
      cache_dir: where features are kept; one folder for each.
      augmentation: random changes of the slices before all else, or None.
      seed: seed of the augmentation.
      progress: called as `progress("features", done, N)`.

    Returns:
      float32 [N, ...]; bfloat16 where the network computes in it.

    Raises:
      InputError: the cache cannot be written.
      ValueError: the stage's output is not a single array.
    """
    changes = None if augmentation is None else (augmentation, seed)
    names = _names(part, preprocessing, images, changes)
    if part.layer not in names:
        raise ValueError(f"the output of {part.layer} is a tuple, expected a stage with a single array: {list(names)}")
    folder = cache_dir / names[part.layer]
    kept = _read(folder, len(images))  # of a cache that is shared and may not be written, too
    if kept is not None:
        return kept
    make_cache(cache_dir)
    with only_process(cache_dir / f"{folder.name}.lock"):
        kept = _read(folder, len(images))
        if kept is None:
            start, source = _highest_kept(names, cache_dir, images)
            _compute(folder, _program(part, preprocessing, changes, start), source, progress)
            kept = _read(folder, len(images))
    if kept is None:
        raise InputError(f"{folder}: holds other features than were just written there, expected a whole disk")
    return kept


def _highest_kept(names: dict[str, str], cache_dir: pathlib.Path, images: np.ndarray) -> tuple[str | None, np.ndarray]:
    """The highest stage whose features are kept, and these; None and the images where there is none."""
    for name in reversed(names):
        if (found := _read(cache_dir / names[name], len(images))) is not None:
            return name, found
    return None, images


def _names(part: FrozenPart, preprocessing: Preprocessing, images: np.ndarray, changes: Changes) -> dict[str, str]:
    """The folder's name of the features of each stage whose output is an array: the stage and a hash."""
    augmentation = None if changes is None else options.to_dict(changes[0]) | {"seed": changes[1]}
    about = [options.to_dict(preprocessing), augmentation, images.shape]
    digest, names = hashlib.sha256(json.dumps(about).encode()), {}
    digest.update(np.ravel(images).data)
    batch = jax.ShapeDtypeStruct((BATCH_ROWS, *images.shape[1:]), images.dtype)
    hidden, start = jax.eval_shape(preprocessing, batch), None
    for name in part.stages:
        variables = part.variables_of((name,))
        for path, leaf in sorted(traverse_util.flatten_dict(variables, sep="/").items()):
            digest.update(f"{path}{np.shape(leaf)}".encode())
            digest.update(np.ravel(np.asarray(leaf)).data)
        program, hidden = jax.make_jaxpr(
            lambda variables, hidden, start=start, stop=name: part.model.apply(
                variables, hidden, start=start, stop=stop
            ),
            return_shape=True,
        )(variables, hidden)
        digest.update(f"{name}{re.sub('0x[0-9a-f]+', '', str(program))}".encode())  # less the addresses of functions
        for constant in program.consts:
            digest.update(np.ravel(np.asarray(constant)).data)
        if isinstance(hidden, jax.ShapeDtypeStruct):
            names[name] = f"{name}_{digest.hexdigest()[:32]}"
        start = name
    return names


def _program(
    part: FrozenPart, preprocessing: Preprocessing, changes: Changes, start: str | None
) -> Callable[[np.ndarray, int], jax.Array]:
    """The compiled function from slices (or the output of `start`) and the number of their first row to the output."""

    @jax.jit
    def run(variables, batch, key):
        if start is None:
            batch = batch if changes is None else changes[0](batch, key)
            batch = preprocessing(batch)
        return part.model.apply(variables, batch, start=start, stop=part.layer)

    variables, key = part.variables_of(part.stages), jax.random.key(0 if changes is None else changes[1])
    return lambda batch, first: run(variables, batch, jax.random.fold_in(key, first))


def _compute(
    folder: pathlib.Path,
    run: Callable[[np.ndarray, int], jax.Array],
    source: np.ndarray,
    progress: ProgressCallback | None,
) -> None:
    """Writes files of `_SHARD_ROWS` rows into a folder beside `folder`, which gets its name when all are there."""
    beside, outputs = folder.with_name(folder.name + ".part"), []
    _keep_whole(folder, beside)
    for rows, batch in padded_batches(BATCH_ROWS, source):
        first, done = int(rows[0]), min(int(rows[0]) + BATCH_ROWS, len(source))
        path = beside / f"{first - first % _SHARD_ROWS:08d}.npy"
        if path.exists():
            continue
        outputs.append(np.asarray(run(batch, first))[: done - first])
        if progress is not None:
            progress("features", done, len(source))
        if done % _SHARD_ROWS == 0 or done == len(source):
            save_array(path, np.concatenate(outputs), _about(folder, path))
            outputs = []
    with foreign(f"{folder}: cannot be written"):
        beside.replace(folder)
        sync_folder(folder.parent)


def _keep_whole(folder: pathlib.Path, beside: pathlib.Path) -> None:
    """Makes the folder to write files in, with those of a damaged copy, or of a killed process, that are whole."""
    with foreign(f"{folder}: damaged, and cannot be made anew"):
        if folder.is_dir() and beside.is_dir():
            shutil.rmtree(folder)
        elif folder.is_dir():
            folder.replace(beside)
    make_cache(beside)
    for path in beside.iterdir():
        try:
            load_array(path, _about(folder, path))
        except InputError:
            path.unlink()


def _about(folder: pathlib.Path, path: pathlib.Path) -> str:
    """What a file holds: another of the same folder, or of other features, is not taken for it."""
    return f"{folder.name}/{path.name}"


def _read(folder: pathlib.Path, rows: int) -> np.ndarray | None:
    """The features of all rows; None where they are not kept, or a file is missing or damaged."""
    if not folder.is_dir():
        return None
    paths = [folder / f"{first:08d}.npy" for first in range(0, rows, _SHARD_ROWS)]
    try:
        return np.concatenate([load_array(path, _about(folder, path)) for path in paths])
    except InputError:
        return None
