"""Slices kept as image files: class folders, and images/ + masks/ + manifest.csv.

Kaggle's `denizkavi1/brain-tumor` copy keeps PNGs in class folders 1/, 2/, 3/ with matplotlib's viridis colour map baked
in; such images are recognised one by one and turned back to grey.
"""

from __future__ import annotations

import collections
import csv
import functools
import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError
from scipy.spatial import cKDTree

from btjax.base.errors import InputError
from btjax.data.preprocess import viridis_table
from btjax.data.raw import OPTIONAL_FIELDS, RawSlice, Source, label_of
from btjax.data.slices import CLASSES

MANIFEST = "manifest.csv"
PLANES = ("axial", "coronal", "sagittal")
ACCEPTED_CLASSES = "meningioma, glioma, pituitary (also as in glioma_tumor, any case) or 1, 2, 3"

IGNORED_NAMES = ("thumbs.db", "desktop.ini")
IGNORED_SUFFIXES = (".txt", ".md", ".csv", ".json", ".html", ".pdf")
"""Files that people keep beside images; every other file in a class folder must be an image."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")

_CLASS_WORD = re.compile(rf"({'|'.join(CLASSES)})([ _-]?tumou?rs?)?", re.IGNORECASE)
_COLUMNS = {"patient": "pid", "fold": "author_fold", "plane": "plane_derived"}
_VIRIDIS_DISTANCE = 30.0
_VIRIDIS_SHARE = 0.95


@functools.cache
def _viridis_lookup() -> tuple[np.ndarray, np.ndarray, cKDTree]:
    """The grey value of each of the 2^24 colours (0 where viridis has none), viridis's colour codes, and a tree."""
    codes = _codes(viridis_table())
    greys = np.zeros(1 << 24, np.uint8)
    greys[codes[::-1]] = np.arange(256, dtype=np.uint8)[::-1]  # of two values with one colour the lower is kept
    return greys, codes, cKDTree(viridis_table().astype(np.float64))


def _codes(colours: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] -> int32 [...], one number for each colour."""
    wide = colours.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def undo_viridis(colours: np.ndarray) -> np.ndarray | None:
    """The grey image under a baked-in viridis colour map.

    Exact colours of the map give back their value (the lower one of the two pairs of values that share a colour);
    other pixels (a lossy or resized copy) take the nearest colour in RGB. An image counts as viridis when 95% of its
    pixels lie within a distance of 30 of the map; greys lie 55 and more away.

    Args:
      colours: uint8 [H, W, 3].

    Returns:
      uint8 [H, W], or None if the image is not in viridis.
    """
    red, green, blue = np.moveaxis(colours, -1, 0)
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return None
    greys, viridis_codes, tree = _viridis_lookup()
    codes = _codes(colours)
    grey = greys[codes]
    other = viridis_codes[grey] != codes
    if other.any():
        unique, inverse, counts = np.unique(codes[other], return_inverse=True, return_counts=True)
        points = np.stack([unique >> 16, (unique >> 8) & 255, unique & 255], axis=-1).astype(np.float64)
        distance, nearest = tree.query(points)
        if counts[distance > _VIRIDIS_DISTANCE].sum() > (1 - _VIRIDIS_SHARE) * codes.size:
            return None
        grey[other] = nearest.astype(np.uint8)[inverse]
    return grey


def read_image(path: pathlib.Path) -> np.ndarray:
    """Reads an image file as grey.

    Returns:
      [H, W]: uint8 for 8-bit images, wider dtypes as stored for 16-bit, 32-bit and floating images. Colour images
      become grey by undoing viridis if they are in it, else by luma (ITU-R 601); transparency is dropped.

    Raises:
      InputError: the file is missing or is no image.
    """
    image = _open(path)
    if image.mode in ("L", "F", "I") or image.mode.startswith("I;16"):
        return np.asarray(image)
    if image.mode in ("1", "LA", "La"):
        return np.asarray(image.convert("L"))
    image = image.convert("RGB")
    grey = undo_viridis(np.asarray(image))
    return np.asarray(image.convert("L")) if grey is None else grey


def read_mask(path: pathlib.Path) -> np.ndarray:
    """Reads a mask image as bool [H, W]: above half of its maximum, so 0/1, 0/255 and 1-bit files all work.

    Raises:
      InputError: the file is missing or is no image.
    """
    image = _open(path)
    pixels = np.asarray(image if image.mode in ("1", "L", "I") or image.mode.startswith("I;16") else image.convert("L"))
    return pixels if pixels.dtype == bool else pixels > pixels.max() / 2


def _open(path: pathlib.Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected an image, found a file that is none ({reason})") from error


def find_classes(folder: pathlib.Path, files: Sequence[pathlib.Path]) -> Source | None:
    """A tree of class folders; None if no image is among `files`.

    A class folder is called meningioma, glioma or pituitary, with or without "tumor", in any case, or 1, 2, 3; it may
    lie deeper (Training/glioma/x.jpg). A slice's id is its file's stem if the stems of the whole tree differ, else its
    path in the tree. Patients, masks and folds are not known in this form.

    Raises:
      InputError: an image lies in a folder of another name, or a class folder is empty.
    """
    candidates = [path for path in files if not _ignored(path)]
    labels = {path: _label_of_path(path.relative_to(folder).parent) for path in candidates}
    if not any(path.suffix.lower() in IMAGE_SUFFIXES for path in candidates) and not any(
        label is not None for label in labels.values()
    ):
        return None
    for path, label in labels.items():
        if label is None and path.suffix.lower() in IMAGE_SUFFIXES:
            raise InputError(f"{path.parent}: holds images, expected only class folders named {ACCEPTED_CLASSES}")
    paths = [path for path, label in labels.items() if label is not None]
    filled = {parent for path in paths for parent in path.parents}
    for directory in _class_folders(folder):
        if directory not in filled:
            raise InputError(f"{directory}: this class folder holds no images, expected at least one")
    stems = collections.Counter(path.stem for path in paths)
    plain = len(stems) == len(paths)
    entries = []
    for path in paths:
        name = path.stem if plain else path.relative_to(folder).as_posix()
        entries.append((name, functools.partial(_read_class_image, path, name, labels[path])))
    count = collections.Counter(labels[path] for path in paths)
    found = ", ".join(f"{count[label]} {name}" for label, name in enumerate(CLASSES))
    description = f"class folders of images ({len(paths)} slices: {found})"
    return Source(folder, description, tuple(paths), frozenset(), tuple(entries))


def _ignored(path: pathlib.Path) -> bool:
    return path.name.lower() in IGNORED_NAMES or path.suffix.lower() in IGNORED_SUFFIXES


def _label_of_path(inside: pathlib.PurePath) -> int | None:
    """The class that the folders of a path name: a word decides; without one, a single 1, 2 or 3."""
    words = {CLASSES.index(match[1].lower()) for part in inside.parts if (match := _CLASS_WORD.fullmatch(part))}
    labels = words or {int(part) - 1 for part in inside.parts if part in ("1", "2", "3")}
    if len(labels) > 1:
        raise InputError(f"{inside}: names two classes, expected one of {ACCEPTED_CLASSES}")
    return labels.pop() if labels else None


def _class_folders(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Every folder of the tree whose own name is a class's, but not the numbered folders inside a named class."""
    for directory in sorted(path for path in folder.rglob("*") if path.is_dir()):
        above = directory.relative_to(folder).parent
        if directory.name in ("1", "2", "3") and _label_of_path(above) is not None:
            continue
        if directory.name in ("1", "2", "3") or _CLASS_WORD.fullmatch(directory.name):
            yield directory


def _read_class_image(path: pathlib.Path, name: str, label: int) -> RawSlice:
    return RawSlice(image=read_image(path), label=label, id=name, where=str(path))


def find_manifest(folder: pathlib.Path, files: Sequence[pathlib.Path]) -> Source | None:
    """images/ with manifest.csv beside it, and masks/ if it is there; None if there is no manifest.csv.

    The manifest needs the columns id and label (1, 2, 3); pid, author_fold and plane_derived are optional. It decides
    which slices there are: an image that it does not list is not read.

    Raises:
      InputError: a column is missing, an id repeats, or an image or mask that a row needs is missing.
    """
    path = folder / MANIFEST
    if path not in files:
        return None
    rows = _read_manifest(path)
    images = _by_stem(folder / "images")
    masks = _by_stem(folder / "masks") if (folder / "masks").is_dir() else None
    known = {field for field, column in _COLUMNS.items() if any(row.get(column) for row in rows)}
    if masks is not None:
        known.add("mask")
    entries, used = [], [path]
    for row in rows:
        image, mask = (_file_of(found, row["id"], path) for found in (images, masks))
        used += [file for file in (image, mask) if file is not None]
        entries.append((row["id"], functools.partial(_read_row, row, image, mask, path, frozenset(known))))
    fields = ", ".join(OPTIONAL_FIELDS[name] for name in sorted(known)) or "labels only"
    description = f"images with {MANIFEST} ({len(rows)} slices, {fields})"
    return Source(folder, description, tuple(used), frozenset(known), tuple(entries))


def _read_manifest(path: pathlib.Path) -> list[dict[str, str]]:
    """The rows of the manifest, as text without surrounding blanks."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            missing = [name for name in ("id", "label") if name not in columns]
            if missing:
                listed = ", ".join(columns) or "none"
                raise InputError(f"{path}: found the columns {listed}, missing {' and '.join(missing)}")
            reader.fieldnames = columns
            rows = [{name: (row[name] or "").strip() for name in columns} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is no readable CSV file ({error}), expected UTF-8 text") from error
    if not rows:
        raise InputError(f"{path}: lists no slices, expected at least one row")
    return rows


def _by_stem(directory: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """The files of a folder by their stem."""
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder, expected it beside {MANIFEST}")
    found = collections.defaultdict(list)
    for path in sorted(directory.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            found[path.stem].append(path)
    return found


def _file_of(found: dict[str, list[pathlib.Path]] | None, name: str, manifest: pathlib.Path) -> pathlib.Path | None:
    """The one file of a slice; None where the folder is absent altogether."""
    if found is None:
        return None
    paths = found.get(name, [])
    if len(paths) != 1:
        kind = "image or mask" if not paths else f"single file (found {', '.join(path.name for path in paths)})"
        raise InputError(f"{manifest}: row {name!r} has no {kind} in images/ or masks/, expected one file of that name")
    return paths[0]


def _read_row(
    row: dict[str, str], image: pathlib.Path, mask: pathlib.Path | None, manifest: pathlib.Path, known: frozenset[str]
) -> RawSlice:
    """One row of the manifest with its files; an empty cell of a known column stays None and is reported above."""
    where = f"{manifest} (row {row['id']})"
    cells = {field: row[column] or None for field, column in _COLUMNS.items() if field in known}
    fold, plane = cells.get("fold"), cells.get("plane")
    if fold is not None and not re.fullmatch(r"[1-9][0-9]{0,3}", fold):
        raise InputError(f"{where}: found {_COLUMNS['fold']} {fold!r}, expected a fold from 1 to 5")
    if plane is not None and plane not in PLANES:
        raise InputError(f"{where}: found {_COLUMNS['plane']} {plane!r}, expected one of {', '.join(PLANES)}")
    pixels = read_image(image)
    outline = None if mask is None else read_mask(mask)
    if outline is not None and outline.shape != pixels.shape:
        raise InputError(f"{mask}: the mask is {outline.shape}, expected the image's shape {pixels.shape}")
    return RawSlice(
        image=pixels,
        label=label_of(row["label"], where),
        id=row["id"],
        where=str(image),
        patient=cells.get("patient"),
        mask=outline,
        fold=None if fold is None else int(fold),
        plane=plane,
    )
