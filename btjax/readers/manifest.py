"""Slices kept as images/ and masks/ with a manifest.csv that says what is known of each."""

from __future__ import annotations

import collections
import csv
import dataclasses
import functools
import io
import pathlib
import re
import unicodedata
from typing import TYPE_CHECKING

import numpy as np

from btjax.base.errors import InputError
from btjax.base.opening import open_regular
from btjax.readers.classes import ACCEPTED_CLASSES, CLASSES, NO_TUMOR, known_class, labels_of
from btjax.readers.images import IMAGE_SUFFIXES, read_image, read_mask
from btjax.readers.orientation import PLANES
from btjax.readers.pseudonyms import NO_PATIENT, NO_PATIENT_NUMBER
from btjax.readers.raw import OPTIONAL_FIELDS, RawSlice, Source, check_folds
from btjax.readers.walk import Walk, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

MANIFEST = "manifest.csv"

_COLUMNS = {"patient": "pid", "fold": "author_fold", "plane": "plane_derived", "side": "split"}
_COLUMN_NAMES = {name: name for name in ("id", "label", *_COLUMNS.values())}
_COLUMN_NAMES |= dict.fromkeys(("patient", "patient_id", "patientid"), "pid")
"""Names of columns in lower case, with underscores for blanks -> those that btjax knows them by."""
_SEEN = ("id", "label", *_COLUMNS.values())
_CLASS_COLUMN = re.compile(r"class|diagnos|tumou?r|type|categor|patholog|label|target", re.IGNORECASE)
_NAME_COLUMN = re.compile(
    r"(class|label|category|diagnosis|tumou?r)([ _-]?(names?|types?|class))?|classes|pathology", re.IGNORECASE
)
"""Columns that hold nothing but names of classes."""
_SIDE_NAMES = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "dev": "validation"}
_SIDE_NAMES |= {"validation": "validation", "test": "test", "testing": "test"}


@dataclasses.dataclass(frozen=True)
class _Row:
    """One row of a manifest: its cells, its label, its files, and the optional fields that the manifest has."""

    cells: dict[str, str]
    label: int | None
    image: pathlib.Path
    mask: pathlib.Path | None
    where: str
    known: frozenset[str]


def find_manifest(folder: pathlib.Path, found: Walk, labelled: bool = True) -> Source | None:
    """images/ with manifest.csv beside it, and masks/ if it is there; None if there is no manifest.csv.

    The manifest needs the columns id and label: figshare's numbers 1, 2, 3, which stand for the paper's three classes,
    or names of any classes. The columns pid, author_fold, plane_derived and split (train, validation or test) are
    optional. The manifest decides which slices there are: an image that it does not list is not read. A slice without a
    tumour needs no mask.

    Args:
      folder: the data folder.
      found: what stands in it.
      labelled: False reads a manifest without labels too.

    Raises:
      InputError: a column is missing, an id repeats, a label is not a class, all names are of one class, or an image or
        mask that a row needs is missing.
    """
    path = folder / MANIFEST
    if path not in found.files:
        return None
    rows = _read_manifest(path, ("id", "label") if labelled else ("id",))
    labels, classes = _labels(rows, path, labelled)
    images = _by_stem(folder / "images")
    masks = _by_stem(folder / "masks") if (folder / "masks").is_dir() else None
    known = {field for field, column in _COLUMNS.items() if any(row.get(column) for row in rows)}
    known |= {"mask"} if masks is not None else set()
    known |= {"label"} if None not in labels else set()
    rows = _with_whole_patients(rows)
    _check_patients(rows, labels, path)
    _check_folds(rows, path)
    entries = []
    for cells, label in zip(rows, labels, strict=True):
        healthy = label is not None and classes[label] == NO_TUMOR
        mask = None if masks is None or (healthy and _nfc(cells["id"]) not in masks) else _file_of(masks, cells, path)
        where = f"{path} (row {cells['id']})"
        entries.append(_Row(cells, label, _file_of(images, cells, path), mask, where, frozenset(known)))
    used = [file for row in entries for file in (row.image, row.mask) if file is not None]
    unlisted = {file for stems in (images, masks or {}) for same in stems.values() for file in same}.difference(used)
    names = [file.relative_to(folder).as_posix() for file in unlisted]
    fields = ", ".join(OPTIONAL_FIELDS[name] for name in sorted(known - {"label"}))
    fields = fields or ("labels only" if "label" in known else "no labels")
    description = f"images with {MANIFEST} ({len(rows)} slices, {fields})"
    return Source(
        folder=folder,
        description=description,
        files=(path, *used),
        known=frozenset(known),
        entries=tuple((row.cells["id"], functools.partial(_read_row, row)) for row in entries),
        classes=classes,
        aside=tuple(unlisted),
        notes=(f"ignored: {listed(f'file(s) that {MANIFEST} does not list', names)}",) if unlisted else (),
    )


def _with_whole_patients(rows: Sequence[dict[str, str]]) -> Sequence[dict[str, str]]:
    """Reads patients 1.0, 2.0 as 1, 2 where all are numbers: so a spreadsheet or pandas writes a column with gaps."""
    column = _COLUMNS["patient"]
    if not all(re.fullmatch(r"([0-9]+(\.0+)?)?", row.get(column, "")) for row in rows):
        return rows
    return [row | {column: row[column].partition(".")[0]} if column in row else row for row in rows]


def _check_patients(rows: Sequence[dict[str, str]], labels: Sequence[int | None], path: pathlib.Path) -> None:
    """Refuses words for "not known" as patient ids: they would make one patient of many.

    Numbers such as 0 and -1 are refused where their slices are of several classes.
    """
    told = [row.get(_COLUMNS["patient"], "") for row in rows]
    classes = collections.defaultdict(set)
    for patient, label in zip(told, labels, strict=True):
        classes[patient].add(label)
    for row, patient in zip(rows, told, strict=True):
        # 0000 is the first of numbered patients, 0 of several classes is a default.
        number = len(patient) < 4 and NO_PATIENT_NUMBER.fullmatch(patient) and len(classes[patient]) > 1
        if NO_PATIENT.fullmatch(patient) or number:
            count = told.count(patient)
            raise InputError(
                f"{path} (row {row['id']}): pid {patient!r}, which {count} slices have, names no patient; expected an "
                "id of each, or no column pid"
            )


def _check_folds(rows: Sequence[dict[str, str]], path: pathlib.Path) -> None:
    """Refuses folds that are no whole numbers from 1, or lie far above the others."""
    column = _COLUMNS["fold"]
    told = {row[column]: row["id"] for row in rows if row.get(column)}
    for fold, name in told.items():
        if not re.fullmatch(r"[1-9][0-9]{0,3}", fold):
            raise InputError(f"{path} (row {name}): found {column} {fold!r}, expected a fold from 1 to 5")
    check_folds(map(int, told), f"{path}: {column}")


def _labels(
    rows: Sequence[dict[str, str]], path: pathlib.Path, labelled: bool
) -> tuple[Sequence[int | None], tuple[str, ...]]:
    """The label of each row, None where the manifest has none, and the classes."""
    cells = [row.get("label", "") for row in rows]
    if not labelled and not any(cells):
        return [None] * len(rows), CLASSES
    wheres = [f"{path} (row {row['id']})" for row in rows]
    labels, classes = labels_of(cells, wheres)
    if len(classes) < 2:
        raise InputError(f"{path}: found the label {min(classes)} alone, expected at least two of {ACCEPTED_CLASSES}")
    for row, label, where in zip(rows, labels, wheres, strict=True):
        for column in filter(_CLASS_COLUMN.search, row.keys() - {"id", "label"}):
            told = known_class(row[column])
            if told is not None and told != classes[label]:
                raise InputError(
                    f"{where}: label {row['label']} means {classes[label]}, but its {column} says {row[column]}"
                )
    _check_own_names(rows, labels, classes, path)
    return labels, classes


def _check_own_names(
    rows: Sequence[dict[str, str]], labels: Sequence[int], classes: tuple[str, ...], path: pathlib.Path
) -> None:
    """Refuses a column of class names of the user's own that does not go with the labels.

    Either it calls a slice of one label by another's name, or the labels are figshare's numbers and the names are not
    those of its classes.
    """
    for column in filter(_NAME_COLUMN.fullmatch, rows[0].keys() - {"id", "label"}):
        told = [row[column].casefold().replace(" ", "_") for row in rows]
        own = all(told) and not any(map(known_class, told)) and not any(name.isdecimal() for name in told)
        numbers = own and len(set(zip(told, labels, strict=True))) == len(set(told)) == len(set(labels))
        for row, name, label in zip(rows, told, labels, strict=True):
            swapped = name in classes and name != classes[label]
            if swapped or (numbers and row["label"].isdecimal()):
                raise InputError(
                    f"{path} (row {row['id']}): label {row['label']} means {classes[label]}, but its {column} says "
                    f"{row[column]}; expected the classes' names as labels"
                )


def _read_manifest(path: pathlib.Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """The rows of the manifest, as text without surrounding blanks."""
    try:
        with open_regular(path, "table") as opened, io.TextIOWrapper(opened, "utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            columns = [_column(name, path) for name in reader.fieldnames or ()]
            repeated = [name for name, count in collections.Counter(columns).items() if count > 1]
            if repeated:
                raise InputError(f"{path}: has the column {repeated[0]} more than once, expected each once")
            missing = [name for name in needed if name not in columns]
            if missing:
                listed = ", ".join(columns) or "none"
                raise InputError(f"{path}: found the columns {listed}, missing {' and '.join(missing)}")
            reader.fieldnames = columns
            rows = []
            for row in reader:
                if row.pop(None, None):  # csv keeps cells without a column under None
                    raise InputError(f"{path}, line {reader.line_num}: found more cells than columns ({len(columns)})")
                rows.append({name: _nfc((row[name] or "").strip()) for name in columns})
                _check_seen(rows[-1], f"{path}, line {reader.line_num}")
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}), expected UTF-8 text") from error
    repeated = [name for name, count in collections.Counter(row["id"] for row in rows).items() if count > 1]
    if repeated:
        raise InputError(f"{path}: has the id {repeated[0]} more than once, expected each once")
    if not rows:
        raise InputError(f"{path}: lists no slices, expected at least one row")
    return rows


def _column(name: str, path: pathlib.Path) -> str:
    """The name that btjax knows a column by, whatever its letters, blanks, hyphens and underscores; else its own."""
    name = name.strip()
    if not name.isprintable():
        raise InputError(f"{path}: found the column {name!r}, expected names without control characters")
    return _COLUMN_NAMES.get(re.sub(r"[\s_-]+", "_", name.lower()), name)


def _check_seen(row: dict[str, str], where: str) -> None:
    """Refuses characters that nobody sees, such as blanks of no width: they make two patients or labels of one."""
    for column in _SEEN:
        if not row.get(column, "").isprintable():
            raise InputError(f"{where}: found {column} {row[column]!r}, expected text without control characters")


def _by_stem(directory: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """The files of a folder by their stem."""
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder, expected it beside {MANIFEST}")
    found = collections.defaultdict(list)
    for path in sorted(directory.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            found[_nfc(path.stem)].append(path)
    return found


def _nfc(name: str) -> str:
    """A name in composed letters: macOS writes decomposed ones into file names, spreadsheets composed ones."""
    return unicodedata.normalize("NFC", name)


def _file_of(found: dict[str, list[pathlib.Path]], row: dict[str, str], manifest: pathlib.Path) -> pathlib.Path:
    """The one file of a slice."""
    name = row["id"]
    paths = found.get(_nfc(name), [])
    if len(paths) != 1:
        kind = "image or mask" if not paths else f"single file (found {', '.join(path.name for path in paths)})"
        raise InputError(f"{manifest}: row {name!r} has no {kind} in images/ or masks/, expected one file of that name")
    return paths[0]


def _read_row(row: _Row) -> RawSlice:
    """One row of the manifest with its files; an empty cell of a known column stays None and is refused by `Source`."""
    cells = {field: row.cells[column] or None for field, column in _COLUMNS.items() if field in row.known}
    fold, plane = cells.get("fold"), cells.get("plane")
    if plane is not None and plane not in PLANES:
        raise InputError(f"{row.where}: found {_COLUMNS['plane']} {plane!r}, expected one of {', '.join(PLANES)}")
    picture = read_image(row.image)
    pixels, side = picture.pixels, cells.get("side")
    if side is not None and side.lower() not in _SIDE_NAMES:
        raise InputError(f"{row.where}: found {_COLUMNS['side']} {side!r}, expected train, validation or test")
    if row.mask is not None:
        outline = read_mask(row.mask)
    else:
        outline = np.zeros(pixels.shape, bool) if "mask" in row.known else None
    if outline is not None and outline.shape != pixels.shape:
        raise InputError(f"{row.mask}: the mask is {outline.shape}, expected the image's shape {pixels.shape}")
    return RawSlice(
        image=pixels,
        label=row.label,
        id=row.cells["id"],
        where=str(row.image),
        patient=cells.get("patient"),
        mask=outline,
        fold=None if fold is None else int(fold),
        plane=plane,
        side=None if side is None else _SIDE_NAMES[side.lower()],
        remarks=picture.remarks,
    )
