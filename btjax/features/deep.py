"""Features: a frozen layer's output for every slice, computed once and kept on disk.

A kept copy belongs to everything that decides it: the weights below the layer, the model's options, the preprocessing,
the augmentation with its seed, and the slices themselves, all hashed into its name. It is never stale, because nothing
else than its own inputs leads to it.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
from typing import Any

import jax
import numpy as np

from btjax.base import options
from btjax.base.files import only_process, readable_errors
from btjax.base.progress import ProgressCallback
from btjax.data.preprocess import Augmentation, Preprocessing

_SHARD_ROWS = 128  # rows between two writes: what an interruption loses
_BATCH_ROWS = 16


def highest_frozen(model, trained: dict[str, Any]) -> str | None:
    """The layer below which nothing trains: the one before the first of the chain with a trained parameter.

    Args:
      model: a chain whose parameters are named as its layers.
      trained: the parameters that train, nested dicts.

    Returns:
      The layer's name, or None where the first layer trains.
    """
    first = min(model.layers.index(layer) for layer in trained)
    return model.layers[first - 1] if first else None


def compute_features(
    model,
    params: dict[str, Any],
    layer: str,
    preprocessing: Preprocessing,
    images: np.ndarray,
    cache_dir: pathlib.Path,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> np.ndarray:
    """The output of a layer for every slice, from the kept copy where there is one.

    Where the output of a lower layer is kept, the computation goes on from there; what an interrupted one had finished
    is used again.

    Args:
      model: a chain, see `btjax.nn.chain`.
      params: its parameters; those of `layer` and below decide.
      layer: one of `model.layers`.
      preprocessing: from slices to the model's inputs.
      images: uint8 [N, S, S].
      cache_dir: where features are kept; one folder for each.
      augmentation: random changes of the slices before all else, or None.
      seed: seed of the augmentation.
      progress: called as `progress("features", done, N)`.

    Returns:
      float32 [N, ...]; bfloat16 where the model computes in it.

    Raises:
      InputError: the cache cannot be written.
    """
    changes = None if augmentation is None else options.to_dict(augmentation) | {"seed": seed}
    about = [type(model).__name__, model.dtype, options.to_dict(preprocessing), changes]
    names = _names(model, params, layer, images, json.dumps(about))
    with readable_errors(cache_dir):
        cache_dir.mkdir(parents=True, exist_ok=True)
        with only_process(cache_dir / f"{names[layer]}.lock"):
            if not (cache_dir / names[layer]).is_dir():
                start = next((name for name in reversed(names) if (cache_dir / names[name]).is_dir()), None)
                source = images if start is None else _read(cache_dir / names[start])
                run = _program(model, params, layer, preprocessing, augmentation, start)
                _compute(cache_dir / names[layer], run, source, jax.random.key(seed), progress)
    return _read(cache_dir / names[layer])


def _names(model, params, layer: str, images: np.ndarray, about: str) -> dict[str, str]:
    """The folder's name of the features of each layer up to `layer`: the layer and a hash of all that decides them."""
    digest, names = hashlib.sha256(f"{about}{images.shape}".encode()), {}
    digest.update(np.ascontiguousarray(images))
    for name in model.layers[: model.layers.index(layer) + 1]:
        for leaf in sorted(params.get(name, ())):
            digest.update(leaf.encode())
            digest.update(np.ascontiguousarray(params[name][leaf]))
        digest.update(name.encode())
        names[name] = f"{name}_{digest.hexdigest()[:32]}"
    return names


def _program(model, params, layer, preprocessing, augmentation, start):
    """The compiled function from (slices or features of `start`, key) to the layer's output."""

    @jax.jit
    def run(params, batch, key):
        if start is None:
            batch = batch if augmentation is None else augmentation(batch, key)
            batch = preprocessing(batch)
        return model.apply({"params": params}, batch, start=start, stop=layer)

    below = {name: params[name] for name in model.layers[: model.layers.index(layer) + 1] if name in params}
    return lambda batch, key: run(below, batch, key)


def _compute(folder: pathlib.Path, run, source: np.ndarray, key: jax.Array, progress: ProgressCallback | None) -> None:
    """Writes shards into a folder beside `folder`, which takes its name when all are there."""
    beside = folder.with_name(folder.name + ".part")
    beside.mkdir(exist_ok=True)
    for first in range(0, len(source), _SHARD_ROWS):
        path = beside / f"{first:08d}.npy"
        rows = source[first : first + _SHARD_ROWS]
        if not path.exists():
            outputs = []
            for place in range(0, len(rows), _BATCH_ROWS):
                batch = rows[place : place + _BATCH_ROWS]
                padded = np.pad(batch, [(0, _BATCH_ROWS - len(batch))] + [(0, 0)] * (batch.ndim - 1))
                outputs.append(np.asarray(run(padded, jax.random.fold_in(key, first + place)))[: len(batch)])
                if progress is not None:
                    progress("features", first + place + len(batch), len(source))
            writing = path.with_suffix(".writing")
            with open(writing, "wb") as file:
                np.save(file, np.concatenate(outputs))
            writing.replace(path)
    beside.replace(folder)


def _read(folder: pathlib.Path) -> np.ndarray:
    return np.concatenate([np.load(path) for path in sorted(folder.glob("*.npy"))])
