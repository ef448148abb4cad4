"""The regions command: Cheng's table of 2015 on a data set with masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from btjax.base.devices import require_devices
from btjax.base.errors import InputError
from btjax.base.files import cache_folder, expanded, make_folder, write_json
from btjax.base.folders import claimed
from btjax.base.progress import Observer, told
from btjax.reports.regions import regions_page
from btjax.runs.folder import RunFolder
from btjax.studies.data import load_slices
from btjax.studies.regions import SCHEMA, STAGES, RegionsReport, measure_cells, table_cells
from btjax.systems.system import Place

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from btjax.systems.config import Config


REGIONS = "regions.json"


def run_regions(
    config: Config,
    folder: str | os.PathLike,
    *,
    stages: Sequence[str] = STAGES,
    observer: Observer | None = None,
    cache_dir: str | None = None,
) -> RegionsReport:
    """Measures every setting of Cheng's table and writes regions.json and regions.html; the same call goes on.

    Args:
      config: of the system `cheng2015`; what the table does not set is the config's.
      folder: of the table, a new one or its own.
      stages: of `btjax.studies.regions.STAGES`, or names of its cells, such as rings_bow_level1.
      observer: is told of the cells.
      cache_dir: where slices and features are kept.

    Raises:
      InputError: another system, slices without masks, or a folder of other options.
    """
    require_devices()
    if config.system != "cheng2015":
        raise InputError(f"--system={config.system}: this table is of cheng2015, expected that")
    unknown = [name for name in stages if not table_cells([name])]
    if unknown or not stages:
        raise InputError(f"--stages={','.join(stages)}: expected some of {', '.join(STAGES)}, or names of cells")
    place = expanded(folder)
    own = ("cells", REGIONS, "regions.html") if (place / "cells").is_dir() else ()
    with told(observer) as watching, claimed(place, "regions", asked(config), own=own, observer=watching):
        loaded = load_slices(config, watching, cache_dir)
        config = config.with_classes(loaded.slices.classes)
        make_folder(place / "cells", "--workdir=")
        kept = Place(cache_folder(cache_dir))
        cells = measure_cells(config, loaded.slices, place / "cells", kept, stages=stages, observer=watching)
        report = RegionsReport(
            SCHEMA, loaded.slices.classes, loaded.form, config.to_json(), loaded.slices.fingerprint, tuple(cells)
        )
        write_json(place / REGIONS, msgspec.to_builtins(report))
        RunFolder(place).write_text("regions.html", regions_page(report))
    return report


def asked(config: Config) -> dict[str, Any]:
    """What decides a system's results, for the mark of their folder: its config without the place of the data."""
    values = config.to_json()
    del values["classes"]  # the data set's, known once it is loaded
    return values | {"data": {name: value for name, value in values["data"].items() if name != "data_dir"}}
