"""Checkpoints of trees of arrays, written by Orbax, each complete or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp
from jax.experimental import multihost_utils

from btjax.base.digests import leaf_digests, leaf_name
from btjax.base.errors import InputError, Unwritable, foreign, quiet_absl
from btjax.base.files import expanded, sync_tree
from btjax.base.progress import Observer

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator


_SUMS = "checksums"
"""Beside the progress in a checkpoint's own metadata: SHA-256 of every leaf, and of the progress."""

_GONE = ".gone-"
"""Begins the name of a checkpoint that is being removed."""

_WITH_FORMER = ("last",)
"""Names of which the checkpoint before the newest is kept too.

A run goes on from either to the same end; any other checkpoint stands for one epoch, for which no other will do.
"""


_LATE = "Event loop is closed|coroutine .* was never awaited"
"""What a thread says that has nobody left to report to."""


class Damaged(InputError):
    """A checkpoint is not what was saved."""


class Checkpoints:
    """Checkpoints by name, `<folder>/<name>/<number>`; a run has `last` to resume from and `best` to use.

    A new checkpoint is written beside the old one and takes its place when it is complete and on the disk, so that a
    run killed at any moment, a full disk, or a power cut leaves the previous one readable. Numbers count the saves, not
    the steps: the highest is used, and a resumed run may save a lower step than the one that it was resumed after.

    Each checkpoint keeps the SHA-256 of its leaves, which are compared when it is loaded; those of earlier versions of
    btjax have none and are loaded as they are. Of `last` the one before the newest is kept as well: it is loaded, and
    the observer told so, where the newest is damaged. Of every other name there is one, and a damaged one is refused.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = expanded(folder)
        self._sound: dict[str, int] = {}  # the number that was loaded or saved last: the next save keeps it

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
        lost = f"{folder}: the checkpoint of step {step} could not be written, the previous one is kept"
        with foreign(lost, kind=Unwritable):
            folder.mkdir(parents=True, exist_ok=True)
            numbers = self._numbers(which)
            number = _unused(folder)
            former = [self._sound.get(which) or max(numbers)] if numbers and which in _WITH_FORMER else []
            with _quiet(), _checkpointer(folder) as checkpointer:
                sums = {
                    "leaves": leaf_digests(tree),
                    "shapes": _digest(_shapes(tree)),
                    "progress": _digest(progress),
                }
                if not checkpointer.save(number, tree, custom_metadata=progress | {_SUMS: sums}):
                    raise RuntimeError(f"Orbax did not save checkpoint {number}")
            if jax.process_index() == 0:
                _replace_others(folder, number, former)
            self._sound[which] = number
            if jax.process_count() > 1:  # nobody lists the folder meanwhile
                multihost_utils.sync_global_devices(f"{folder}/{number}")

    def load(self, which: str, tree: Any, observer: Observer | None = None) -> tuple[Any, dict[str, Any]]:
        """Loads what `save` saved.

        Args:
          which: the name.
          tree: a pytree of arrays or `jax.ShapeDtypeStruct` of the same shapes and dtypes, such as a fresh state.
          observer: is told where the newest is damaged and the one before it is loaded.

        Returns:
          (tree, progress)

        Raises:
          InputError: there is no checkpoint, it is of another architecture, or damaged (`Damaged`) and so is the one
            before it, or its parameters are no finite numbers.
        """
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

        def describe(leaf):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or device)

        abstract = jax.tree.map(describe, tree)
        (loaded, progress), number = self._first_sound(
            which, lambda number: self._read(which, number, abstract), observer
        )
        _check_finite(self.folder / which, loaded)
        self._sound[which] = number
        return loaded, progress

    def exists(self, which: str) -> bool:
        """Whether there is a complete checkpoint "last" or "best"."""
        return bool(self._numbers(which))

    def progress(self, which: str, *, former: bool = False) -> dict[str, Any]:
        """What was given as progress to the newest checkpoint.

        Args:
          which: the name.
          former: whether to answer of the one before, where the metadata of the newest are damaged; `load` may take it
            too where the arrays are.

        Raises:
          InputError: there is none, or it is damaged.
        """
        if former:
            return self._first_sound(which, lambda number: self._progress(which, number)[0])[0]
        return self._progress(which, self._required(which)[0])[0]

    def _first_sound(self, which: str, read: Callable[[int], Any], observer: Observer | None = None) -> tuple[Any, int]:
        """What is read of the newest checkpoint, or of the first before it that is not damaged, and its number."""
        newest, *others = self._required(which)
        try:
            return read(newest), newest
        except Damaged as error:
            if which not in _WITH_FORMER or not others:
                raise
            for number in others:
                with contextlib.suppress(Damaged):
                    found, place = read(number), self.folder / which / str(number)
                    (observer or Observer()).on_message(f"note: {error}; {place}, saved before it, is used")
                    return found, number
            raise Damaged(f"{error}; what was saved before it is damaged too") from error

    def _read(self, which: str, number: int, abstract: Any) -> tuple[Any, dict[str, Any]]:
        """The tree and the progress of one checkpoint, both as they were saved."""
        folder = self.folder / which
        with (
            _quiet(),
            foreign(f"{folder}: the checkpoint is damaged or not one of btjax", kind=Damaged),
            _checkpointer(folder) as checkpointer,
        ):
            metadata = checkpointer.metadata(number).metadata
            progress, sums = self._progress(which, number)
            _check_leaves(folder, metadata, abstract, sums)
            loaded = checkpointer.load(number, abstract)
        _check_sums(folder, loaded, sums)
        return loaded, progress

    def _progress(self, which: str, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The progress and the checksums of one checkpoint, from the file in which Orbax keeps what `save` gave it."""
        folder = self.folder / which
        try:
            values = json.loads((folder / str(number) / "_CHECKPOINT_METADATA").read_bytes())
        except (OSError, ValueError):  # where it is damaged Orbax itself would say {}
            values = None
        return _checked_progress(folder, values.get("custom_metadata") if isinstance(values, dict) else None)

    def _numbers(self, which: str) -> list[int]:
        """The checkpoints of a name, the newest first."""
        folder = self.folder / which
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted((int(name) for name in names if name.isdigit()), reverse=True)

    def _required(self, which: str) -> list[int]:
        """The checkpoints of a name, the newest first; InputError where there is none."""
        numbers = self._numbers(which)
        if not numbers:
            raise InputError(
                f"{self.folder / which}: no checkpoint found, expected <number>/ written by a run of btjax"
            )
        return numbers


def _unused(folder: pathlib.Path) -> int:
    """The number after every one in a folder: TensorStore's threads may still write into that of a save that failed."""
    found = (re.match(rf"(?:{_GONE})?(\d+)", path.name) for path in folder.iterdir())
    return max((int(one[1]) for one in found if one), default=0) + 1


def _replace_others(folder: pathlib.Path, number: int, former: list[int]) -> None:
    """Removes the checkpoints but for the one of this number, once that is on the disk, and the former ones."""
    sync_tree(folder / str(number))
    kept = {str(one) for one in (number, *former)}
    for path in list(folder.iterdir()):
        if path.name not in kept:
            with contextlib.suppress(OSError):  # a thread may still write what failed: the next save removes it
                gone = path if path.name.startswith(_GONE) else path.rename(folder / f"{_GONE}{path.name}")
                shutil.rmtree(gone)  # a checkpoint whose removal was stopped half-way is not taken for one


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _checked_progress(folder: pathlib.Path, kept: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The progress and the checksums from a checkpoint's metadata; no checksums in one of an earlier version.

    Raises:
      Damaged: the metadata are gone, as after a power cut, or changed.
    """
    if not isinstance(kept, dict):
        raise Damaged(f"{folder}: the checkpoint is damaged: its metadata are missing or empty")
    progress = {name: value for name, value in kept.items() if name != _SUMS}
    if _SUMS not in kept:
        return progress, {}
    sums = kept[_SUMS]
    if not isinstance(sums, dict) or not isinstance(sums.get("leaves"), dict):
        raise Damaged(f"{folder}: the checkpoint is damaged: its checksums are no checksums")
    if sums.get("progress") != _digest(progress):
        raise Damaged(f"{folder}: the checkpoint is damaged: its metadata are not those that were saved")
    return progress, sums


def _check_sums(folder: pathlib.Path, loaded: Any, sums: dict[str, Any]) -> None:
    """Names the first leaf that is not what was saved; nothing is compared where there are no checksums."""
    if not sums:
        return
    found, saved = leaf_digests(loaded), sums["leaves"]
    for name in sorted(found.keys() | saved.keys()):
        if found.get(name) != saved.get(name):
            raise Damaged(f"{folder}: the checkpoint is damaged: {name} is not what was saved (SHA-256 differs)")


def _check_finite(folder: pathlib.Path, loaded: Any) -> None:
    """Names the first leaf of params or batch_stats that holds NaN or infinity, with which every answer is none."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(loaded):
        name = leaf_name(path)
        if {"params", "batch_stats"} & set(name.split("/")) and not np.isfinite(np.asarray(leaf)).all():
            raise InputError(f"{folder}: {name} of the checkpoint holds NaN or infinity, expected finite numbers")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Within it what fails in Orbax and in TensorStore's threads is not shown with its stack: it becomes one line."""
    before, hook = set(threading.enumerate()), sys.unraisablehook
    sys.unraisablehook = lambda *_: None  # of a thread of TensorStore's that fails
    after = hook
    try:
        with quiet_absl(everything=True):
            try:
                yield
            except BaseException:
                after = _without_late_words(hook)
                for thread in set(threading.enumerate()) - before:
                    if type(thread) is not threading.Thread:  # one of Orbax's, not a worker that waits for more
                        thread.join(timeout=5.0)
                raise
    finally:
        sys.unraisablehook = after


def _without_late_words(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A hook that leaves out what TensorStore's threads say after the work has failed, and is the given one else."""
    warnings.filterwarnings("ignore", _LATE, RuntimeWarning)

    def report(unraisable: Any) -> None:
        if not re.match(_LATE, str(unraisable.exc_value)):
            hook(unraisable)

    return report


def _checkpointer(folder: pathlib.Path) -> ocp.training.Checkpointer:
    # Orbax's annotations name narrower types than it takes.
    place: Any = folder.absolute()
    policy: Any = ocp.training.preservation_policies.PreserveAll()
    return ocp.training.Checkpointer(place, preservation_policy=policy)


def _check_leaves(folder: pathlib.Path, found: Any, expected: Any, sums: dict[str, Any]) -> None:
    """Names the first leaf in which a checkpoint differs from what the model needs."""
    found, expected = _shapes(found), _shapes(expected)
    if not found or sums.get("shapes", _digest(found)) != _digest(found):
        raise Damaged(f"{folder}: the checkpoint is damaged: it does not list the arrays that were saved")
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
