"""The dataset's original form: MATLAB v7.3 files `N.mat`, in the four published zips or loose, and `cvind.mat`.

Jun Cheng, "brain tumor dataset", figshare article 1512427, CC BY 4.0. A v7.3 file is HDF5: its group `cjdata` holds
`label` (1, 1), `PID` (n, 1) character codes, `image` and `tumorMask`. MATLAB stores columns first, so h5py shows every
array transposed.
"""

from __future__ import annotations

import functools
import io
import re
import zipfile
import zlib
from typing import TYPE_CHECKING, cast

import h5py
import numpy as np

from btjax.base.errors import InputError
from btjax.data.classes import label_of
from btjax.data.raw import RawSlice, Source

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

PUBLISHED_ZIPS = {
    f"brainTumorDataPublic_{first}-{last}.zip": (first, last)
    for first, last in ((1, 766), (767, 1532), (1533, 2298), (2299, 3064))
}
"""Names of the published zips, with the first and the last N of the `N.mat` in each."""

FOLDS_FILE = "cvind.mat"
_SLICE_FILE = re.compile(r"[0-9]+\.mat", re.IGNORECASE)


def read_slice(data: bytes, where: str, name: str, folds: np.ndarray | None = None) -> RawSlice:
    """Reads one `N.mat`.

    Args:
      data: the file's bytes.
      where: the file, for error messages.
      name: N as text, the slice's id.
      folds: int [number of slices], fold of `N.mat` at index N - 1, or None.

    Returns:
      The slice with its patient, its mask and, if `folds` is given, its fold; image and mask upright.

    Raises:
      InputError: the file is not a MATLAB v7.3 file, or a field is missing or unusable.
    """
    fields = _read_fields(data, where, "cjdata", ("label", "PID", "image", "tumorMask"))
    for field in ("image", "tumorMask"):
        if fields[field].ndim != 2 or fields[field].dtype.kind not in "uifb":
            found = f"{fields[field].dtype} {fields[field].shape}"
            raise InputError(f"{where}: found cjdata/{field} of {found}, expected numbers in two dimensions")
    image, mask = fields["image"].T, fields["tumorMask"].T
    if mask.shape != image.shape:
        raise InputError(f"{where}: cjdata/tumorMask is {mask.shape}, expected the image's shape {image.shape}")
    label = fields["label"]
    return RawSlice(
        image=image,
        label=label_of(label.item() if label.size == 1 else label.shape, where),
        id=name,
        where=where,
        patient=_text(fields["PID"], where),
        mask=mask != 0,
        fold=None if folds is None else _fold(folds, int(name), where),
    )


def read_folds(data: bytes, where: str) -> np.ndarray:
    """Reads `cvind.mat`: int32 [number of slices], the authors' fold (from 1) of `N.mat` at index N - 1.

    Raises:
      InputError: the file is not a MATLAB v7.3 file or holds no `cvind` of whole numbers from 1.
    """
    folds = _read_fields(data, where, None, ("cvind",))["cvind"].ravel()
    if folds.dtype.kind not in "uif" or not np.all((folds >= 1) & (folds == np.floor(folds))):
        raise InputError(f"{where}: found cvind of {folds.dtype} {folds.shape}, expected folds 1 to 5")
    return folds.astype(np.int32)


def find_zips(folder: pathlib.Path, files: Sequence[pathlib.Path]) -> Source | None:
    """The zips among `files` that hold `N.mat`, read in place without unpacking; None if there are none.

    `cvind.mat` is taken from beside the zips, or from inside one. Zips may have any name; but where a published zip is
    complete and another is absent, nothing is read, since slices must not go missing unnoticed.

    Raises:
      InputError: a zip is truncated, damaged, holds an unsafe path, or one of the published four is absent.
    """
    members: dict[str, tuple[str, zipfile.ZipFile, str]] = {}
    numbers: dict[pathlib.Path, set[int]] = {}
    folds_at = None
    for path in (path for path in files if path.suffix.lower() == ".zip"):
        archive = _open_zip(path)
        numbers[path] = set()
        for entry in _safe_names(archive, path):
            base = entry.rpartition("/")[2]
            if base == FOLDS_FILE:
                folds_at = (archive, path, entry)
            elif _SLICE_FILE.fullmatch(base):
                name = base[:-4]
                if name in members:
                    raise InputError(f"{path}: {base} is also in {members[name][0]}, expected each slice once")
                members[name] = (str(path), archive, entry)
                numbers[path].add(int(name))
    if not members:
        return None
    _check_published(folder, numbers)
    _check_no_more_loose(files, members)
    folds, folds_files = _loose_folds(files)
    if folds is None and folds_at is not None:
        archive, path, entry = folds_at
        folds = read_folds(_read_member(archive, path, entry), f"{path}/{entry}")
    entries = tuple(
        (name, functools.partial(_read_zipped, archive, where, entry, name, folds))
        for name, (where, archive, entry) in members.items()
    )
    zips = tuple(path for path, found in numbers.items() if found)
    description = f"figshare zips of MATLAB v7.3 files ({_count(len(zips), 'zip')}, {_count(len(entries), 'slice')})"
    return Source(folder, description, zips + folds_files, _known(folds), entries)


def find_loose(folder: pathlib.Path, files: Sequence[pathlib.Path]) -> Source | None:
    """The loose `N.mat` among `files`, subfolders included, with `cvind.mat` if it is there; None if there are none.

    Raises:
      InputError: a .mat file is neither `N.mat` nor `cvind.mat`, or two have the same N.
    """
    paths = [path for path in files if path.suffix.lower() == ".mat" and path.name != FOLDS_FILE]
    if not paths:
        return None
    for path in paths:
        if not _SLICE_FILE.fullmatch(path.name):
            raise InputError(f"{path}: expected files named N.mat with N a number, and {FOLDS_FILE}")
    folds, folds_files = _loose_folds(files)
    entries = tuple((path.stem, functools.partial(_read_loose, path, folds)) for path in paths)
    description = f"loose MATLAB v7.3 files ({_count(len(entries), 'slice')})"
    return Source(folder, description, tuple(paths) + folds_files, _known(folds), entries)


def _read_fields(data: bytes, where: str, group: str | None, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named datasets of an HDF5 file as arrays, as h5py shows them."""
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            parent = file if group is None else file.get(group)
            if not isinstance(parent, h5py.Group):
                raise InputError(f"{where}: found no group {group}, expected one as in the figshare files")
            for name in names:
                if not isinstance(parent.get(name), h5py.Dataset):
                    place = name if group is None else f"{group}/{name}"
                    raise InputError(f"{where}: found no {place}, expected it as in the figshare files")
            return {name: np.asarray(cast("h5py.Dataset", parent[name])[()]) for name in names}
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{where}: expected a readable MATLAB v7.3 (HDF5) file, found: {reason}") from error


def _text(codes: np.ndarray, where: str) -> str:
    """MATLAB character codes as text."""
    if codes.dtype.kind not in "uif" or codes.size == 0 or not np.all((codes > 31) & (codes < 127)):
        raise InputError(f"{where}: found cjdata/PID of {codes.dtype} {codes.shape}, expected character codes")
    return "".join(chr(int(code)) for code in codes.ravel()).strip()


def _fold(folds: np.ndarray, number: int, where: str) -> int:
    if not 1 <= number <= len(folds):
        raise InputError(f"{where}: {FOLDS_FILE} holds folds of slices 1 to {len(folds)}, found no fold of {number}")
    return int(folds[number - 1])


def _read_loose(path: pathlib.Path, folds: np.ndarray | None) -> RawSlice:
    return read_slice(_read_bytes(path), str(path), path.stem, folds)


def _read_bytes(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _read_zipped(archive: zipfile.ZipFile, where: str, entry: str, name: str, folds: np.ndarray | None) -> RawSlice:
    return read_slice(_read_member(archive, where, entry), f"{where}/{entry}", name, folds)


def _read_member(archive: zipfile.ZipFile, where: str | pathlib.Path, entry: str) -> bytes:
    try:
        return archive.read(entry)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError) as error:
        raise InputError(f"{where}: cannot read {entry} in it ({error}), expected the zip as published") from error


def _open_zip(path: pathlib.Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        size = path.stat().st_size if path.exists() else 0
        raise InputError(f"{path}: is not a complete zip ({error}; {size} bytes), download it again") from error


def _safe_names(archive: zipfile.ZipFile, path: pathlib.Path) -> list[str]:
    """The archive's file names, without what macOS adds; refuses names outside the folder, and zips of zips."""
    names = []
    for entry in archive.infolist():
        name = entry.orig_filename.replace("\\", "/")
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
            raise InputError(f"{path}: holds the unsafe path {name!r}, expected names like 1.mat")
        if name.lower().endswith(".zip"):
            raise InputError(f"{path}: holds another zip ({name}), unpack it once and give the folder of its zips")
        if not entry.is_dir() and "__MACOSX" not in parts and not parts[-1].startswith("."):
            names.append(entry.filename)
    return names


def _check_published(folder: pathlib.Path, numbers: dict[pathlib.Path, set[int]]) -> None:
    """Refuses an incomplete set of the published zips; zips that hold a selection of slices pass."""
    present = {path.name: found for path, found in numbers.items() if path.name in PUBLISHED_ZIPS}
    ranges = {name: set(range(first, last + 1)) for name, (first, last) in PUBLISHED_ZIPS.items()}
    absent = [name for name in PUBLISHED_ZIPS if name not in present]
    if absent and any(found >= ranges[name] for name, found in present.items()):
        listed = ", ".join(absent)
        raise InputError(f"{folder}: found {len(present)} of the 4 published zips, missing {listed}")


def _check_no_more_loose(files: Sequence[pathlib.Path], members: dict) -> None:
    """Where zips were unpacked beside themselves the zips are read; they must then hold every slice."""
    for path in files:
        if _SLICE_FILE.fullmatch(path.name) and path.stem not in members:
            raise InputError(f"{path}: is in none of the zips beside it, expected either zips or loose .mat files")


def _loose_folds(files: Sequence[pathlib.Path]) -> tuple[np.ndarray | None, tuple[pathlib.Path, ...]]:
    """The folds of the first `cvind.mat` among the files, and that file; None and () if there is none."""
    for path in files:
        if path.name == FOLDS_FILE:
            return read_folds(_read_bytes(path), str(path)), (path,)
    return None, ()


def _known(folds: np.ndarray | None) -> frozenset[str]:
    return frozenset(("label", "patient", "mask") if folds is None else ("label", "patient", "mask", "fold"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
