"""From items to answers, in order and in constant memory: files are read on threads while the networks compute."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError, foreign
from btjax.prediction.answers import Answer, Ensemble, Prepared
from btjax.readers.raw import check_slice, in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from btjax.prediction.inputs import Item
    from btjax.runs.seen import Arrays

BATCH = 32

_Read = tuple["Item", Prepared | None, dict[str, Any]]
_Begun = tuple[list[_Read], list["Arrays"], int]


def answers(ensemble: Ensemble, items: Iterable[Item], batch_size: int = BATCH) -> Iterator[Answer]:
    """The answers to items, in their order.

    At any time a few batches are in memory: one that the networks work on, and what the threads have read ahead. A
    file that cannot be read is an answer with the reason.

    Args:
      ensemble: of runs.
      items: see `btjax.prediction.inputs`.
      batch_size: slices at a time; the last batch is filled up, so that the networks are compiled once.
    """
    begun: _Begun | None = None
    read = in_order(lambda item: _read(ensemble, item), items)
    while chunk := list(itertools.islice(read, batch_size)):
        images = [prepared for _, prepared, _ in chunk if prepared is not None]
        following = chunk, ensemble.start(images, batch_size) if images else [], len(images)
        if begun is not None:
            yield from _finish(ensemble, *begun)
        begun = following
    if begun is not None:
        yield from _finish(ensemble, *begun)


def prepared_of(ensemble: Ensemble, item: Item) -> Prepared:
    """The slice of an item as each member takes it; InputError where it cannot be read."""
    if item.read is None:
        raise InputError(item.fault)
    with foreign(item.file, "a slice"):
        raw = item.read()
        check_slice(raw)
        return ensemble.prepare(raw)


def _read(ensemble: Ensemble, item: Item) -> _Read:
    """An item's slice, or why there is none, with the fields of its answer."""
    fields: dict[str, Any] = {"file": item.file, "slice": item.slice, "label": item.label}
    if item.read is None:
        return item, None, fields | {"reason": item.fault}
    try:
        with foreign(item.file, "a slice"):
            raw = item.read()
            check_slice(raw)
            if raw.label is not None and item.classes:
                fields["label"] = item.classes[raw.label]
            return item, ensemble.prepare(raw), fields | {"remarks": raw.remarks}
    except InputError as error:
        return item, None, fields | {"reason": item.clean(error)}


def _finish(ensemble: Ensemble, chunk: list[_Read], started: list[Arrays], count: int) -> Iterator[Answer]:
    verdicts, row = ensemble.finish(started, count) if count else None, 0
    for _, prepared, fields in chunk:
        if prepared is None or verdicts is None:
            yield Answer(answered=False, predicted="", **fields)
            continue
        yield ensemble.answer(verdicts, row, fields)
        row += 1


def side_of(prepared: Prepared, ensemble: Ensemble) -> np.ndarray:
    """The slice as the first run takes it, uint8 [S, S]."""
    return prepared[ensemble.members[0].preparation]
