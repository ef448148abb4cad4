"""Where training takes its rows from: arrays on the device, or files that are read while the steps are taken.

Both give the same batches of the same rows, so what is trained is the same to the bit.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from btjax.base.rows import LazyRows
from btjax.training.step import zeros_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from btjax.training.examples import Examples
    from btjax.training.step import Batches, Dataset, Sums, WeightedBatches

_BLOCK_BYTES = 16 << 20
_AHEAD = 2  # blocks that are read while the steps of another are taken


class Block(NamedTuple):
    """Some steps of an epoch, with the rows that they need.

    Attributes:
      dataset: on the device.
      batches: whose table counts the rows of `dataset`.
      first: the step of the epoch that is the first of `batches`.
      stop: the step after the last one to take.
    """

    dataset: Dataset
    batches: Batches | WeightedBatches
    first: int
    stop: int


class Resident:
    """All rows on the device: an epoch is one block.

    Attributes:
      dataset: what lies on the device.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @property
    def shapes(self) -> Dataset:
        """Arrays, or their shapes and types, of which a block's data set has some rows."""
        return self.dataset

    def blocks(self, batches: Any, step: int) -> Generator[Block]:
        """The blocks of an epoch's batches from a step on."""
        if step < len(batches.table):
            yield Block(self.dataset, batches, 0, len(batches.table))

    def total(self, evaluate: Callable[..., Sums], variables: Any, batches: Batches) -> Sums:
        """The sums of `evaluate` (`btjax.training.step.make_evaluate`) over all batches."""
        return evaluate(variables, self.dataset, *batches)


class Streamed:
    """Rows that are read in blocks of some steps, the next ones while the steps of one are taken.

    Args:
      arrays: [N, ...] by name, of which some are `LazyRows`.
      put: puts a block's arrays on the device.
    """

    def __init__(self, arrays: dict[str, Any], put: Callable[[Any], Any]) -> None:
        self._arrays, self._put = arrays, put

    @property
    def shapes(self) -> Dataset:
        """As `Resident.shapes`."""
        shapes: Any = {name: jax.ShapeDtypeStruct((1, *a.shape[1:]), a.dtype) for name, a in self._arrays.items()}
        return shapes

    def blocks(self, batches: Any, step: int) -> Generator[Block]:
        """As `Resident.blocks`.

        Raises:
          RecordsLost: see `btjax.data.records`.
        """
        host = jax.tree.map(np.asarray, batches)
        total, size = host.table.shape
        steps = self._steps(total, size)
        local = np.arange(steps * size, dtype=np.int32).reshape(steps, size)
        firsts = range(step - step % steps, total, steps)
        read = [partial(self._read, type(host)(*(part[at : at + steps] for part in host)), steps) for at in firsts]
        with contextlib.closing(_ahead(read)) as found:
            for first, (arrays, padded) in zip(firsts, found, strict=True):
                there = self._put(arrays), self._put(padded._replace(table=local))
                yield Block(*there, first, min(first + steps, total))

    def total(self, evaluate: Callable[..., Sums], variables: Any, batches: Batches) -> Sums:
        """As `Resident.total`: each block's sums are added to those before it."""
        sums = None
        with contextlib.closing(self.blocks(batches, 0)) as blocks:
            for block in blocks:
                given = (variables, block.dataset, *block.batches)
                if sums is None:  # zeros, so that every block goes through the same program
                    sums = self._put(zeros_of(jax.eval_shape(evaluate, *given)))
                # Else JAX takes many blocks before the first is done, each with its slices.
                sums = evaluate(*given, jax.block_until_ready(sums))
        return sums or {}

    def _steps(self, total: int, batch_size: int) -> int:
        """Steps in a block: blocks are about equal, so that the last one is filled up with little."""
        row = sum(int(np.prod(array.shape[1:])) * np.dtype(array.dtype).itemsize for array in self._arrays.values())
        most = max(1, _BLOCK_BYTES // (batch_size * row))
        return -(-total // -(-total // most))

    def _read(self, part: Any, steps: int) -> tuple[dict[str, np.ndarray], Any]:
        """The rows of some batches, and the batches filled up to `steps` with what does not count."""
        padded = jax.tree.map(lambda array: np.pad(array, ((0, steps - len(array)), (0, 0))), part)
        filling = padded.table.size - part.table.size

        def filled(array: np.ndarray) -> np.ndarray:
            return np.concatenate([array, np.repeat(array[:1], filling, axis=0)]) if filling else array

        return {name: filled(array[part.table.ravel()]) for name, array in self._arrays.items()}, padded


class _Calls:
    """Functions as a source of Grain's: element i is what the i-th one returns."""

    def __init__(self, functions: list[Callable[[], Any]]) -> None:
        self._functions = functions

    def __len__(self) -> int:
        return len(self._functions)

    def __getitem__(self, index: Any) -> Any:
        return self._functions[index]()

    def __repr__(self) -> str:
        return f"{len(self)} blocks"


def _ahead(functions: list[Callable[[], Any]]) -> Generator[Any]:
    """What the functions return, in order, computed in threads some calls ahead."""
    import grain  # takes a while, and only streams need it

    options = grain.ReadOptions(num_threads=_AHEAD, prefetch_buffer_size=_AHEAD)
    iterator = iter(grain.MapDataset.source(_Calls(functions)).to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


def make_source(examples: Examples, put: Callable[[Any], Any]) -> Resident | Streamed:
    """The source of some examples: a stream where their images are read from files."""
    arrays = examples.arrays
    streamed = any(isinstance(array, LazyRows) for array in arrays.values())
    return Streamed(arrays, put) if streamed else Resident(put(arrays))
