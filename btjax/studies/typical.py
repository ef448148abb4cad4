"""How the training slices of a finished run look to its network: computed once, and kept in the run's folder."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from btjax.base.errors import InputError
from btjax.base.progress import Observer
from btjax.data.dataset import load_data
from btjax.evaluation.typical import Seen, Typical
from btjax.runs.folder import RunFolder
from btjax.runs.seen import TYPICAL, Eye, load_typical, save_typical

if TYPE_CHECKING:
    import os

    from btjax.runs.predictions import Predictions
    from btjax.runs.run import Run

_BATCH = 32


def typical_of(
    run: Run,
    own_dir: str | None = None,
    observer: Observer | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Typical:
    """What is typical of a run's training slices, from its folder, or computed from its data set and kept there.

    Args:
      run: a finished classifier's.
      own_dir: where the run's data set stands now; by default where the run found it.
      observer: is told of the work.
      cache_dir: where prepared slices are kept.

    Raises:
      InputError: it is not known yet and the data set cannot be read, is another, or left no validation rows.
    """
    if (known := load_typical(run)) is not None:
        return known
    seen, predictions = see_own(run, own_dir, observer or Observer(), cache_dir)
    rows = {side: np.flatnonzero(predictions.sides == side) for side in ("train", "validation")}
    if not len(rows["validation"]) or len(rows["train"]) < 2:
        raise InputError(
            f"{run.folder}: has no validation rows, so nothing tells when not to answer; --noabstain answers always"
        )
    found = Typical.fit(seen.take(rows["train"]), seen.take(rows["validation"]))
    with contextlib.suppress(InputError):  # a run on a disk that cannot be written is looked at again next time
        save_typical(run.folder / TYPICAL, run, found)
    return found


def see_own(
    run: Run, own_dir: str | None, observer: Observer, cache_dir: str | os.PathLike | None
) -> tuple[Seen, Predictions]:
    """What a run's network makes of every row of its own data set, and the run's predictions in the same order.

    Raises:
      InputError: the data set cannot be read, or is another.
    """
    place = own_dir or run.config.data.data_dir
    flag = f"--own_dir={place}"
    predictions = run.predictions
    try:
        config = run.config.replace("data.data_dir", place)
        cache = None if cache_dir is None else str(cache_dir)
        slices = load_data(config.data, cache, observer.on_data, stream=None).slices
        RunFolder(run.folder).check_slices(slices.fingerprint, flag)
    except InputError as error:
        raise InputError(
            f"{error}; the run's own data set is needed once to tell when not to answer: name it by --own_dir, or "
            "answer always by --noabstain"
        ) from error
    if not np.array_equal(slices.ids.astype(str), predictions.ids.astype(str)):
        raise InputError(f"{flag}: holds other slices than {run.folder} was trained on, expected the same data set")
    eye, parts = Eye(run), []
    for first in range(0, len(slices), 8 * _BATCH):
        parts.append(eye.see(slices.images[first : first + 8 * _BATCH], _BATCH))
        observer.on_data("look at the run's own slices", min(first + 8 * _BATCH, len(slices)), len(slices))
    columns = zip(*((part.logits, part.deep, part.wide) for part in parts), strict=True)
    return Seen(*(np.concatenate(column) for column in columns)), predictions
