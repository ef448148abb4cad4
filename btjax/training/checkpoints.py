"""Checkpoints: `last` to resume from and `best` to use, written by Orbax, each complete or not there at all."""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import orbax.checkpoint.experimental.v1 as ocp

from btjax.errors import InputError
from btjax.training.state import TrainState


class Checkpoints:
    """The checkpoints of one run: `<folder>/last/<step>` and `<folder>/best/<step>`, one of each.

    A new checkpoint is written beside the old one and takes its place when it is complete, so that a run killed at
    any moment, or a full disk, leaves the previous one readable.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = pathlib.Path(folder)

    def save_last(self, state: TrainState, sums: dict[str, jax.Array], progress: dict[str, Any]) -> None:
        """Saves what resuming needs.

        Args:
          state: the whole training state.
          sums: the unfinished epoch's sums of metrics.
          progress: JSON values: where in the run the state stands.

        Raises:
          InputError: the disk is full or not writable.
        """
        self._save("last", {"state": state, "sums": sums}, int(state.step), progress)

    def save_best(self, state: TrainState, progress: dict[str, Any]) -> None:
        """Saves the variables of the best model so far; arguments and errors as `save_last`."""
        self._save("best", state.variables, int(state.step), progress)

    def load_last(self, state: TrainState, sums: dict[str, jax.Array]) -> tuple[TrainState, dict, dict]:
        """Loads what `save_last` saved.

        Args:
          state: a state of the same shapes and dtypes, such as a fresh one.
          sums: sums of the same shapes and dtypes.

        Returns:
          (state, sums, progress)

        Raises:
          InputError: there is no checkpoint, or it is of another architecture.
        """
        loaded, progress = self._load("last", {"state": state, "sums": sums})
        return loaded["state"], loaded["sums"], progress

    def load_best(self, variables: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Loads (variables, progress) of the best model; `variables` and errors as in `load_last`."""
        return self._load("best", variables)

    def exists(self, which: str) -> bool:
        """Whether there is a complete checkpoint "last" or "best"."""
        return (self.folder / which).is_dir() and any(path.name.isdigit() for path in (self.folder / which).iterdir())

    def _save(self, which: str, tree: Any, step: int, progress: dict[str, Any]) -> None:
        folder = self.folder / which
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _checkpointer(folder) as checkpointer:
                checkpointer.save(step, tree, overwrite=True, custom_metadata=progress)
        except OSError as error:
            raise InputError(f"{folder}: the checkpoint of step {step} could not be written: {error}") from error
        except Exception as error:
            # TensorStore reports a full disk as a ValueError that quotes the system's message.
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if "No space left" in str(error) or "RESOURCE_EXHAUSTED" in str(error) or "OS error" in str(error):
                message = f"{folder}: the checkpoint of step {step} could not be written, the previous one is kept: "
                raise InputError(message + reason) from error
            raise

    def _load(self, which: str, tree: Any) -> tuple[Any, dict[str, Any]]:
        folder = self.folder / which
        if not self.exists(which):
            raise InputError(f"{folder}: no checkpoint found, expected <step>/ written by a run of btjax")
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
        with _checkpointer(folder) as checkpointer:
            metadata = checkpointer.metadata()
            _check_leaves(folder, metadata.metadata, abstract)
            return checkpointer.load(None, abstract), metadata.custom_metadata


def _checkpointer(folder: pathlib.Path) -> ocp.training.Checkpointer:
    return ocp.training.Checkpointer(
        folder.absolute(),
        preservation_policy=ocp.training.preservation_policies.LatestN(1),
        cleanup_tmp_directories=True,
    )


def _check_leaves(folder: pathlib.Path, found: Any, expected: Any) -> None:
    """Names the first leaf in which a checkpoint differs from what the model needs."""
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
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        return str(tuple(leaf.shape))

    def name(path):
        return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)

    return {name(path): shape(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
