"""Measures how well a run knows when not to answer, and writes unknown.json."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from btjax.base.errors import InputError
from btjax.base.files import check_writable, expanded, make_folder, write_json
from btjax.base.progress import Observer, told
from btjax.evaluation.typical import Typical
from btjax.prediction.inputs import ReadOptions, list_items
from btjax.prediction.unknown import UnknownReport, as_json, made_sets, measure_unknown
from btjax.runs.run import Run, restore
from btjax.runs.seen import TYPICAL, save_typical
from btjax.studies.typical import see_own

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

UNKNOWN = "unknown.json"


def measure_unknown_of(
    run: Run | str | os.PathLike,
    folder: str | os.PathLike,
    *,
    others: Mapping[str, str | os.PathLike] | None = None,
    own_dir: str | None = None,
    observer: Observer | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> UnknownReport:
    """Scores photographs, noise, synthetic heads and other files beside a run's own test slices.

    Args:
      run: a finished classifier's run, or its folder.
      folder: takes unknown.json.
      others: further sets by name: paths as `btjax.predict` takes them.
      own_dir: where the run's data set stands now; by default where the run found it.
      observer: is told of the work.
      cache_dir: where prepared slices are kept.

    Returns:
      The report, which is also written.

    Raises:
      InputError: the run's data set cannot be read, it has no validation or test rows, or a path holds nothing.
    """
    run, place = run if isinstance(run, Run) else restore(run), expanded(folder)
    check_writable(place, "--workdir=")
    with told(observer) as watching:
        data = run.config.data
        read = ReadOptions(data.plane, data.window, None, cache_dir)
        sets = made_sets(data.image_size)
        sets |= {name: list_items(path, read) for name, path in (others or {}).items()}
        seen, predictions = see_own(run, own_dir, watching, cache_dir)
        sides = {name: np.flatnonzero(predictions.sides == name) for name in ("train", "validation", "test")}
        if not all(len(rows) for rows in sides.values()):
            raise InputError(f"{run.folder}: needs training, validation and test rows, expected a finished run of all")
        typical = Typical.fit(seen.take(sides["train"]), seen.take(sides["validation"]))
        with contextlib.suppress(InputError):
            save_typical(run.folder / TYPICAL, run, typical)
        report = measure_unknown(run, typical, seen.take(sides["test"]), sets)
        make_folder(place, "--workdir=")
        write_json(place / UNKNOWN, as_json(report))
    return report
