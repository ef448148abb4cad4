"""Which slices a path means: a picture, a DICOM file, a NIfTI volume, a .mat, a folder, a glob, or arrays.

Every file stands for itself: one that cannot be read is an item with its reason, and the others go on.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import glob
import importlib.util
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from btjax.base.errors import InputError, foreign
from btjax.base.files import expanded
from btjax.base.opening import read_regular
from btjax.prediction.privacy import hide, plain_reason, private_words, without_words
from btjax.readers import figshare, folders, manifest
from btjax.readers.dicom import find_frames, is_dicom
from btjax.readers.dicom_header import Passed, read_frames
from btjax.readers.images import IMAGE_SUFFIXES, read_image
from btjax.readers.nifti import find_volumes, is_nifti
from btjax.readers.pseudonyms import read_salt
from btjax.readers.raw import RawSlice, in_order
from btjax.readers.walk import Walk, walk

ACCEPTED = (
    "an image, a DICOM file, a NIfTI volume (.nii, .nii.gz), a .mat of figshare, a folder of such files or of any form "
    "that btjax reads, or a pattern such as 'scans/*.png'"
)
"""What may be predicted on, in words."""

_EXTRA = "pip install btjax[medical]"


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    Attributes:
      plane: along which NIfTI volumes are cut.
      window: what is taken of DICOM pixels, stored or file.
      slices: the first and the last slice of each volume or series, from 1; None for all.
      cache_dir: see `btjax.base.files.cache_folder`.
    """

    plane: str = "axial"
    window: str = "stored"
    slices: tuple[int, int] | None = None
    cache_dir: str | os.PathLike | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Item:
    """One slice to predict, or a file that cannot be.

    Attributes:
      file: the file as people may see it, relative to the given path.
      slice: which of the file's or the series' slices; "" where there is one.
      read: reads it; None where `fault` says why there is nothing to read.
      fault: why, in one line.
      label: the class that the file's folder or the file itself tells, or "".
      classes: the names of the labels that `read` gives, where it gives any.
      clean: makes the text of an error fit to be shown.
    """

    file: str
    slice: str = ""
    read: Callable[[], RawSlice] | None = None
    fault: str = ""
    label: str = ""
    classes: tuple[str, ...] = ()
    clean: Callable[[Exception], str] = str

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the others of a folder."""
        return self.file, self.slice


@dataclasses.dataclass(frozen=True)
class Listing:
    """The slices that a path means, in order, and what is to be said of the other files."""

    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()


def list_arrays(arrays: np.ndarray | Sequence[np.ndarray]) -> Listing:
    """Slices that are arrays already: [H, W] each, of any numbers, upright, dark is low."""
    items = []
    for number, array in enumerate(arrays):
        image, name = np.asarray(array), f"array {number}"
        if image.ndim != 2:
            raise ValueError(f"{name}: expected numbers [H, W], found {image.dtype} {list(image.shape)}")
        raw = RawSlice(image, None, id=name, where=name)
        items.append(Item(name, read=functools.partial(_given, raw)))
    if not items:
        raise InputError("no arrays, expected at least one [H, W]")
    return Listing(tuple(items))


def _given(raw: RawSlice) -> RawSlice:
    return raw


def list_items(images: str | os.PathLike | Iterable[str | os.PathLike], options: ReadOptions) -> Listing:
    """The slices of paths: files, folders or patterns.

    Raises:
      InputError: a path is not there, holds nothing that is read, or has none of the slices that are asked for; a
        folder holds masks among its slices, or a package is missing.
    """
    single = isinstance(images, str | os.PathLike)
    paths = [images] if single else list(images)
    listings = [_list_path(path, options) for path in paths]
    items = [item for listing in listings for item in listing.items]
    if not items:
        raise InputError(f"{', '.join(map(str, paths)) or 'images'}: found nothing to predict on, expected {ACCEPTED}")
    return Listing(_unique(items), tuple(note for listing in listings for note in listing.notes))


def _unique(items: Sequence[Item]) -> tuple[Item, ...]:
    """Items whose keys differ: files of one name from two places get a number."""
    seen: collections.Counter[tuple[str, str]] = collections.Counter()
    found = []
    for item in items:
        seen[item.key] += 1
        again = seen[item.key]
        found.append(item if again == 1 else dataclasses.replace(item, file=f"{item.file} ({again})"))
    return tuple(found)


def _list_path(given: str | os.PathLike, options: ReadOptions) -> Listing:
    text = os.fspath(given)
    path = expanded(given)
    with foreign(f"--images={text}", "a path that can be read"):
        if path.is_dir():
            found = walk(path)
            if not found.files:
                raise InputError(f"--images={text}: found an empty folder, expected {ACCEPTED}")
            return _list_folder(path, found, options)
        if path.exists():
            return _list_files(path.parent, [path], options, ())
        if glob.has_magic(text):
            matches = [pathlib.Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
            files = [file for match in matches for file in (walk(match).files if match.is_dir() else [match])]
            if not files:
                raise InputError(f"--images={text}: no file matches the pattern, expected at least one")
            root = pathlib.Path(os.path.commonpath([file.parent for file in files]))
            return _list_files(root, list(dict.fromkeys(files)), options, ())
    raise InputError(f"--images={text}: no such file or folder, expected {ACCEPTED}")


def _list_folder(folder: pathlib.Path, found: Walk, options: ReadOptions) -> Listing:
    """A folder in one of the forms of data sets, or of any files."""
    for find in (functools.partial(manifest.find_manifest, labelled=False), figshare.find_zips):
        source = find(folder, found)
        if source is not None:
            suffix = ".mat" if find is figshare.find_zips else ""
            clean = _cleaner(folder)
            items = [
                Item(f"{name}{suffix}", read=read, classes=source.classes, clean=clean) for name, read in source.entries
            ]
            return Listing(tuple(items), source.notes)
    listing = _list_files(folder, list(found.files), options, found.folders)
    passed = (f"ignored: {', '.join(found.passed)}",) if found.passed else ()
    return dataclasses.replace(listing, notes=listing.notes + passed)


def _list_files(
    root: pathlib.Path, files: Sequence[pathlib.Path], options: ReadOptions, inner: Sequence[pathlib.Path]
) -> Listing:
    """Files of any kinds, each by its own reader."""
    kinds: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
    for path in files:
        kinds[_kind(path, alone=len(files) == 1)].append(path)
    items, notes = [], []
    if kinds["NIfTI"]:
        items += _volumes(root, kinds["NIfTI"], options)
    if kinds["DICOM"]:
        items += _frames(root, kinds["DICOM"], options)
    if options.slices is not None:
        items = [item for item in items if item.fault or _within(item, options.slices)]
        if not items:
            first, last = options.slices
            raise InputError(f"--slices={first}:{last}: no volume or series here has such slices that show a head")
    items += [_mat(root, path) for path in kinds["mat"] if path.name != figshare.FOLDS_FILE]
    pictures, said = _pictures(root, kinds["picture"], inner)
    notes += said
    if kinds["other"]:
        count = len(kinds["other"])
        notes.append(f"ignored: {count} file{'s' * (count > 1)} of other kinds ({kinds['other'][0].name}, ...)")
    return Listing((*items, *pictures), tuple(notes))


def _kind(path: pathlib.Path, alone: bool) -> str:
    """What reads a file; one that is named alone counts as a picture where its name tells nothing."""
    if is_nifti(path):
        return "NIfTI"
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "picture"
    if suffix == ".mat":
        return "mat"
    if is_dicom(path):
        return "DICOM"
    return "picture" if alone else "other"


def _within(item: Item, slices: tuple[int, int]) -> bool:
    number = item.slice.rpartition("/")[2]
    return number.isdecimal() and slices[0] <= int(number) <= slices[1]


def _cleaner(root: pathlib.Path) -> Callable[[Exception], str]:
    """Messages without the folder's own path."""
    prefix = f"{root}/"
    return lambda error: str(error).replace(prefix, "")


def _inside(root: pathlib.Path, path: pathlib.Path) -> pathlib.PurePosixPath:
    return pathlib.PurePosixPath(path.relative_to(root).as_posix())


def _pictures(
    root: pathlib.Path, paths: Sequence[pathlib.Path], inner: Sequence[pathlib.Path]
) -> tuple[list[Item], list[str]]:
    """Picture files; refuses masks among them, and passes over thumbnails."""
    if len(paths) < 2:
        kept, notes, labels = list(paths), [], {}
    else:
        walked = Walk(tuple(paths), tuple(inner))
        source = folders.find_unlabelled(root, walked)
        aside = set(source.aside) if source else set()
        kept, notes = [path for path in paths if path not in aside], list(source.notes) if source else []
        labels = _labels(root, walked, kept)
    clean = _cleaner(root)

    def item(path: pathlib.Path) -> Item:
        read = functools.partial(_read_picture, path)
        return Item(_inside(root, path).as_posix(), read=read, label=labels.get(path, ""), clean=clean)

    return [item(path) for path in kept], notes


def _labels(root: pathlib.Path, walked: Walk, paths: Sequence[pathlib.Path]) -> dict[pathlib.Path, str]:
    """The classes of files in class folders, where the folders' names leave no doubt."""
    try:
        found = folders.label_files(root, walked, paths)
    except InputError:
        return {}
    return {path: found.classes[label] for path, label in found.labels.items()} if found and found.certain else {}


def _read_picture(path: pathlib.Path) -> RawSlice:
    picture = read_image(path)
    return RawSlice(picture.pixels, None, id=path.stem, where=str(path), remarks=picture.remarks)


def _mat(root: pathlib.Path, path: pathlib.Path) -> Item:
    def read() -> RawSlice:
        with foreign(f"{path}: cannot be read"):
            data = read_regular(path, "slice_file")
        return figshare.read_slice(data, str(path), path.stem)

    return Item(_inside(root, path).as_posix(), read=read, classes=folders.CLASSES, clean=_cleaner(root))


def _require(package: str, path: pathlib.Path, form: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{path}: found {form}, which {package} reads: {_EXTRA}")


def _volumes(root: pathlib.Path, paths: Sequence[pathlib.Path], options: ReadOptions) -> list[Item]:
    """The slices of NIfTI volumes; where one is damaged, each is looked at alone."""
    _require("nibabel", paths[0], "NIfTI")
    salt, clean = read_salt(options.cache_dir), _cleaner(root)

    def found(some: Sequence[pathlib.Path]) -> list[Item]:
        parts = find_volumes(root, some, salt, options.plane, options.cache_dir).parts
        return [
            Item(_inside(root, part.paths[0]).as_posix(), part.name.rpartition("/")[2], part.read, clean=clean)
            for part in parts
        ]

    try:
        return found(paths)
    except InputError as error:
        if len(paths) == 1:
            return [Item(_inside(root, paths[0]).as_posix(), fault=clean(error))]
    items = []
    for path in paths:
        try:
            items += found([path])
        except InputError as error:
            items.append(Item(_inside(root, path).as_posix(), fault=clean(error)))
    return items


def _frames(root: pathlib.Path, paths: Sequence[pathlib.Path], options: ReadOptions) -> list[Item]:
    """The slices of DICOM files, by series and position; a file that cannot be read is an item of its own."""
    _require("pydicom", paths[0], "DICOM")
    salt = read_salt(options.cache_dir)
    good, faults = [], []
    words: dict[pathlib.Path, frozenset[str]] = {}
    for path, private, fault in in_order(_look_at, paths):
        words[path] = private
        if fault:
            faults.append((path, fault))
        else:
            good.append(path)
    everybody = frozenset().union(*words.values())

    def shown(path: pathlib.Path) -> str:
        return hide(_inside(root, path), words[path] or everybody, salt)

    def clean(path: pathlib.Path, error: Exception) -> str:
        text = plain_reason(error).replace(str(path), shown(path)).replace(f"{root}/", "")
        return without_words(text, words[path] or everybody, salt)

    items = []
    for part in find_frames(root, good, salt, options.window).parts if good else ():
        path = part.paths[0]
        number = hide(pathlib.PurePosixPath(part.name), words[path], salt)
        items.append(Item(shown(path), number, part.read, clean=functools.partial(clean, path)))
    items += [Item(shown(path), fault=clean(path, fault)) for path, fault in faults]
    return items


def _look_at(path: pathlib.Path) -> tuple[pathlib.Path, frozenset[str], InputError | None]:
    """What a DICOM file's header says of people, and why the file holds no slice."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scanners break small rules of the standard
            found: Any = read_frames(path)
        fault = InputError(f"{path}: holds no slice of a head: {found.reason}") if isinstance(found, Passed) else None
    except InputError as error:
        fault = error
    return path, private_words(path), fault
