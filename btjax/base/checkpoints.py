"""Checkpoints of trees of arrays, written by Orbax, each complete or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp
from jax.experimental import multihost_utils

from btjax.base.digests import leaf_digests, leaf_name
from btjax.base.errors import InputError, foreign
from btjax.base.files import expanded, sync_tree

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator


_SUMS = "checksums"
"""Beside the progress in a checkpoint's own metadata: SHA-256 of every leaf, and of the progress."""

_GONE = ".gone-"
"""Begins the name of a checkpoint that is being removed."""


class Checkpoints:
    """Checkpoints by name: `<folder>/<name>/<number>`, one of each; a run has `last` to resume from and `best` to use.

    A new checkpoint is written beside the old one and takes its place when it is complete and on the disk, so that a
    run killed at any moment, a full disk, or a power cut leaves the previous one readable. Numbers count the saves, not
    the steps: the highest is used, and a resumed run may save a lower step than the one that it was resumed after.

    Each checkpoint keeps the SHA-256 of its leaves, which are compared when it is loaded; those of earlier versions of
    btjax have none and are loaded as they are.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = expanded(folder)

    def save(self, which: str, tree: Any, step: int, progress: dict[str, Any]) -> None:
        """Saves a tree of arrays under a name; several processes with the same tree call it together, one writes.

        Args:
          which: the name: "last", "best" or what the caller calls it.
          tree: a pytree of arrays.
          step: the optimizer step, named in an error.
          progress: JSON values to keep beside it, such as where in the run the state stands.

        Raises:
          InputError: the disk is full or not writable.
        """
        folder = self.folder / which
        with foreign(f"{folder}: the checkpoint of step {step} could not be written, the previous one is kept"):
            folder.mkdir(parents=True, exist_ok=True)
            number = (self._newest(which) or 0) + 1
            with _checkpointer(folder, cleanup_tmp_directories=True) as checkpointer:
                sums = {"leaves": leaf_digests(tree), "progress": _progress_digest(progress)}
                if not checkpointer.save(number, tree, custom_metadata=progress | {_SUMS: sums}):
                    raise RuntimeError(f"Orbax did not save checkpoint {number}")
            if jax.process_index() == 0:
                _replace_others(folder, number)
            if jax.process_count() > 1:  # nobody lists the folder meanwhile
                multihost_utils.sync_global_devices(f"{folder}/{number}")

    def load(self, which: str, tree: Any) -> tuple[Any, dict[str, Any]]:
        """Loads what `save` saved.

        Args:
          which: the name.
          tree: a pytree of arrays or `jax.ShapeDtypeStruct` of the same shapes and dtypes, such as a fresh state.

        Returns:
          (tree, progress)

        Raises:
          InputError: there is no checkpoint, it is of another architecture, or damaged, or its parameters are no
            finite numbers.
        """
        folder = self.folder / which
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

        def describe(leaf):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or device)

        abstract = jax.tree.map(describe, tree)
        with self._reading(which) as checkpointer:
            metadata = checkpointer.metadata()
            progress, sums = _checked_progress(folder, self._kept(which))
            _check_leaves(folder, metadata.metadata, abstract)
            loaded = checkpointer.load(None, abstract)
        _check_sums(folder, loaded, sums)
        _check_finite(folder, loaded)
        return loaded, progress

    def exists(self, which: str) -> bool:
        """Whether there is a complete checkpoint "last" or "best"."""
        return self._newest(which) is not None

    def progress(self, which: str) -> dict[str, Any]:
        """What was given as progress to the newest checkpoint; InputError where there is none, or it is damaged."""
        self._require(which)
        return _checked_progress(self.folder / which, self._kept(which))[0]

    def _kept(self, which: str) -> Any:
        """What `save` gave Orbax to keep beside the arrays, from its file: Orbax gives {} where that is damaged."""
        path = self.folder / which / str(self._newest(which)) / "_CHECKPOINT_METADATA"
        try:
            return json.loads(path.read_bytes()).get("custom_metadata")
        except (OSError, ValueError, AttributeError):
            return None

    def _newest(self, which: str) -> int | None:
        folder = self.folder / which
        if not folder.is_dir():
            return None
        return max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=None)

    def _require(self, which: str) -> pathlib.Path:
        """The folder of a checkpoint; InputError where there is none."""
        if not self.exists(which):
            raise InputError(
                f"{self.folder / which}: no checkpoint found, expected <number>/ written by a run of btjax"
            )
        return self.folder / which

    @contextlib.contextmanager
    def _reading(self, which: str) -> Iterator[ocp.training.Checkpointer]:
        """A checkpointer on a folder that holds a checkpoint; what Orbax cannot read becomes an InputError."""
        folder = self._require(which)
        with foreign(f"{folder}: the checkpoint is damaged or not one of btjax"), _checkpointer(folder) as checkpointer:
            yield checkpointer


def _replace_others(folder: pathlib.Path, number: int) -> None:
    """Removes the checkpoints before the one of this number, once that is on the disk."""
    sync_tree(folder / str(number))
    for path in list(folder.iterdir()):
        if path.name != str(number):
            gone = path if path.name.startswith(_GONE) else path.rename(folder / f"{_GONE}{path.name}")
            shutil.rmtree(gone)  # a checkpoint whose removal was stopped half-way is not taken for one


def _progress_digest(progress: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(progress, sort_keys=True).encode()).hexdigest()


def _checked_progress(folder: pathlib.Path, kept: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The progress and the leaves' checksums from a checkpoint's metadata; no checksums in one of an earlier version.

    Raises:
      InputError: the metadata are gone, as after a power cut, or changed.
    """
    if not isinstance(kept, dict):
        raise InputError(f"{folder}: the checkpoint is damaged: its metadata are missing or empty")
    progress = {name: value for name, value in kept.items() if name != _SUMS}
    if _SUMS not in kept:
        return progress, {}
    sums = kept[_SUMS]
    if not isinstance(sums, dict) or not isinstance(sums.get("leaves"), dict):
        raise InputError(f"{folder}: the checkpoint is damaged: its checksums are no checksums")
    if sums.get("progress") != _progress_digest(progress):
        raise InputError(f"{folder}: the checkpoint is damaged: its metadata are not those that were saved")
    return progress, sums["leaves"]


def _check_sums(folder: pathlib.Path, loaded: Any, sums: dict[str, str]) -> None:
    """Names the first leaf that is not what was saved; nothing is compared where there are no checksums."""
    if not sums:
        return
    found = leaf_digests(loaded)
    for name in sorted(found.keys() | sums.keys()):
        if found.get(name) != sums.get(name):
            raise InputError(f"{folder}: the checkpoint is damaged: {name} is not what was saved (SHA-256 differs)")


def _check_finite(folder: pathlib.Path, loaded: Any) -> None:
    """Names the first leaf of params or batch_stats that holds NaN or infinity, with which every answer is none."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(loaded):
        name = leaf_name(path)
        if {"params", "batch_stats"} & set(name.split("/")) and not np.isfinite(np.asarray(leaf)).all():
            raise InputError(f"{folder}: {name} of the checkpoint holds NaN or infinity, expected finite numbers")


def _checkpointer(folder: pathlib.Path, **options: Any) -> ocp.training.Checkpointer:
    # Orbax's annotations name narrower types than it takes.
    place: Any = folder.absolute()
    policy: Any = ocp.training.preservation_policies.PreserveAll()
    return ocp.training.Checkpointer(place, preservation_policy=policy, **options)


def _check_leaves(folder: pathlib.Path, found: Any, expected: Any) -> None:
    """Names the first leaf in which a checkpoint differs from what the model needs."""
    if not jax.tree.leaves(found):
        raise InputError(f"{folder}: the checkpoint is damaged: it lists no arrays")
    found, expected = _shapes(found), _shapes(expected)
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise InputError(
                f"{folder}: checkpoint of another architecture: {name} is {found.get(name, 'absent')}, "
                f"expected {expected.get(name, 'absent')}"
            )


def _shapes(tree: Any) -> dict[str, str]:
    """Shape by name of every leaf; a random key counts as the integers that stand for it on disk."""

    def shape(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        return str(tuple(leaf.shape))

    return {leaf_name(path): shape(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
