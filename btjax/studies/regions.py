"""Cheng's table of 2015 made anew: textures, radii and rings on the same folds."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from btjax.base.errors import InputError
from btjax.base.files import read_json, write_json
from btjax.base.progress import Observer
from btjax.evaluation.cheng import OTHER_CLASSIFIERS, RADII, RINGS
from btjax.evaluation.classification import Scores, classification_report
from btjax.studies.data import split_of
from btjax.studies.outlines import masks_key, with_outlines
from btjax.systems.cheng2015 import TEXTURES, labels_of

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping, Sequence

    from btjax.readers.slices import Slices
    from btjax.systems.config import Config
    from btjax.systems.system import Place

SCHEMA = 1
"""The version of regions.json."""

STAGES = ("radius", "rings", "classifier")
"""The parts of the table: the dilation alone, the rings, and other classifiers of the best histograms."""


@dataclasses.dataclass(frozen=True)
class TableCell:
    """One setting of the table.

    Attributes:
      stage: of `STAGES`.
      name: of its file.
      options: of `RegionClassifier`, less those that the table leaves to the config.
      published: the accuracy that is printed, in percent.
    """

    stage: str
    name: str
    options: dict[str, str | int | bool]
    published: float


@dataclasses.dataclass(frozen=True)
class CellResult:
    """What one setting reaches.

    Attributes:
      cell: the setting.
      folds: accuracy of each fold, 0 to 1.
      mean: of the folds, as the paper gives it.
      settings: of the classifier in each fold, such as C.
      scores: of all test slices together, with intervals.
      seconds: that the cell took; what was kept of other cells took none of them.
    """

    cell: TableCell
    folds: tuple[float, ...]
    mean: float
    settings: tuple[float, ...]
    scores: Scores
    seconds: float


@dataclasses.dataclass(frozen=True)
class RegionsReport:
    """What regions.json holds.

    Attributes:
      schema: `SCHEMA`.
      classes: class names.
      data: form of the data set in words.
      config: the options that all cells share.
      slices: `Slices.fingerprint`.
      cells: the results, in the table's order.
    """

    schema: int
    classes: tuple[str, ...]
    data: str
    config: dict
    slices: str
    cells: tuple[CellResult, ...]


BEST = "rings_bow_level1"
"""The cell that the paper calls its best: words in two rings."""


def told_cell(cells: Sequence[CellResult]) -> CellResult:
    """The cell that stands for the table: the paper's best, or the first; none is chosen by what it reached here."""
    return next((one for one in cells if one.cell.name == BEST), cells[0])


def table_cells(stages: Sequence[str] = STAGES) -> list[TableCell]:
    """The settings of the table, in its order; of parts of it, or of cells by their names.

    Example:
      >>> len(table_cells(["radius"])), table_cells(["rings"])[2].name
      (15, 'rings_bow_level0')
    """
    found = []
    for radius, row in RADII.items():
        coarse = {"radius": radius, "level": 0, "pyramid": False, "grey_levels": 10, "distance": 1}
        for texture in TEXTURES:
            name = f"radius{radius}_{texture}"
            found.append(TableCell("radius", name, {"texture": texture, **coarse}, row[texture]))
    for (level, pyramid), row in RINGS.items():
        for texture in TEXTURES:
            name = f"rings_{texture}_level{level}{'_pyramid' * pyramid}"
            options = {"texture": texture, "level": level, "pyramid": pyramid}
            found.append(TableCell("rings", name, options, row[texture]))
    for (classifier, neighbours), published in OTHER_CLASSIFIERS.items():
        options = {"texture": "bow", "classifier": classifier} | ({"neighbours": neighbours} if neighbours else {})
        found.append(TableCell("classifier", f"{classifier}{neighbours or ''}", options, published))
    return [cell for cell in found if cell.stage in stages or cell.name in stages]


def measure_cells(
    config: Config,
    slices: Slices,
    folder: pathlib.Path,
    place: Place,
    *,
    stages: Sequence[str] = STAGES,
    observer: Observer | None = None,
) -> list[CellResult]:
    """Fits every setting on every fold and scores it; cells that the folder holds already are read.

    Args:
      config: of the system `cheng2015`; what a cell does not set is the config's, its fold does not count.
      slices: with masks.
      folder: takes a file for each cell.
      place: where features are kept.
      stages: of `STAGES`, or names of cells.
      observer: is told of the cells.

    Returns:
      The results of the cells that were asked for and of all others that the folder holds, in the table's order.

    Raises:
      InputError: slices without masks, or cells of other options or slices.
    """
    wanted = [cell.name for cell in table_cells(stages)]
    cells = [cell for cell in table_cells() if cell.name in wanted or (folder / f"{cell.name}.json").exists()]
    found, observer = [], observer or Observer()
    folds = [config.replace("data.fold", fold) for fold in range(config.data.folds)]
    masks = [masks_key(one, slices) for one in folds]
    for number, cell in enumerate(cells):
        observer.on_data("cells", number, len(cells))
        path = folder / f"{cell.name}.json"
        own = _config_of(config, cell)
        key = {"config": own.to_json(), "slices": slices.fingerprint, "masks": masks}
        result = _read(path, key) if path.exists() else None
        if result is None:
            result = _measure(own, cell, slices, place)
            write_json(path, key | {"result": msgspec.to_builtins(result)})
        observer.on_message(f"{cell.name}: {100 * result.mean:.2f}, published {cell.published:.2f}")
        found.append(result)
    observer.on_data("cells", len(cells), len(cells))
    return found


def _config_of(config: Config, cell: TableCell) -> Config:
    for name, value in cell.options.items():
        config = config.replace(f"model.{name}", value)
    return config


def _measure(config: Config, cell: TableCell, slices: Slices, place: Place) -> CellResult:
    """One setting on all folds."""
    began, rows, logits, settings, folds = time.perf_counter(), [], [], [], []
    labels = labels_of(slices)
    for fold in range(config.data.folds):
        of_fold = config.replace("data.fold", fold)
        split = split_of(slices, of_fold)
        seen = with_outlines(of_fold, slices, split)
        kept = config.model.fit(seen, split, config.seed, place)
        rows.append(split.test)
        logits.append(config.model.outputs(kept, seen, place)[split.test])
        settings.append(kept.setting)
        folds.append(float(np.mean(logits[-1].argmax(axis=1) == labels[split.test])))
    tested = np.concatenate(rows)
    families = slices.families
    scores = classification_report(
        np.concatenate(logits).astype(np.float64),
        labels[tested].astype(np.int64),
        classes=slices.classes,
        patients=None if slices.patients is None else slices.patients[tested],
        groups=None if families is None else families[tested],
    )
    seconds = round(time.perf_counter() - began, 1)
    return CellResult(cell, tuple(folds), float(np.mean(folds)), tuple(settings), scores, seconds)


def _read(path: pathlib.Path, key: Mapping[str, object]) -> CellResult:
    values = read_json(path, "a cell of the table")
    if not isinstance(values, dict) or any(values.get(name) != value for name, value in key.items()):
        raise InputError(f"{path}: a cell of other options or slices; go on with its own, or name another folder")
    try:
        return msgspec.convert(values["result"], CellResult)
    except (KeyError, msgspec.ValidationError) as error:
        raise InputError(f"{path}: damaged, or not written by btjax: {error}") from None
