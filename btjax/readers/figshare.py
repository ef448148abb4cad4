"""The dataset's original form: MATLAB v7.3 files `N.mat`, in the four published zips or loose, and `cvind.mat`.

Jun Cheng, "brain tumor dataset", figshare article 1512427, CC BY 4.0. A v7.3 file is HDF5: its group `cjdata` holds
`label` (1, 1), `PID` (n, 1) character codes, `image` and `tumorMask`. MATLAB stores columns first, so h5py shows every
array transposed.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import pathlib
import re
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from btjax.base.errors import InputError, foreign
from btjax.base.hdf5 import child, open_hdf5, read_numbers
from btjax.base.limits import check_limit
from btjax.base.opening import read_regular
from btjax.base.zips import open_zip, read_member
from btjax.readers.classes import label_of
from btjax.readers.pseudonyms import NO_PATIENT
from btjax.readers.raw import RawSlice, Source, check_folds
from btjax.readers.walk import Walk, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

PUBLISHED_ZIPS = {
    f"brainTumorDataPublic_{first}-{last}.zip": (first, last)
    for first, last in ((1, 766), (767, 1532), (1533, 2298), (2299, 3064))
}
"""Names of the published zips, with the first and the last N of the `N.mat` in each."""

FOLDS_FILE = "cvind.mat"
_SLICE_FILE = re.compile(r"[0-9]{1,9}\.mat", re.IGNORECASE)


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
        mask=_outline(mask, where),
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
    check_folds(np.unique(folds).tolist(), f"{where}: cvind")
    return folds.astype(np.int32)


def find_zips(folder: pathlib.Path, found: Walk) -> Source | None:
    """The zips in a folder that hold `N.mat`, read in place without unpacking; None if there are none.

    `cvind.mat` is taken from beside the zips, or from inside one. Zips may have any name; but where a published zip is
    complete and another is absent, nothing is read, since slices must not go missing unnoticed.

    Raises:
      InputError: a zip is truncated, damaged, holds an unsafe path, or one of the published four is absent.
    """
    zips = _Zips.of(found.files)
    if not zips.members:
        return None
    _check_published(folder, zips.numbers())
    loose = _unpacked(found.files, zips.members)
    folds, folds_files = _loose_folds(found.files)
    if folds is None and zips.folds is not None:
        folds = read_folds(zips.folds.read(), zips.folds.where)
    entries = tuple((member.name, functools.partial(_read_zipped, member, folds)) for member in zips.members.values())
    used = tuple(dict.fromkeys(member.zip for member in zips.members.values()))
    notes = [f"ignored: {listed('file(s) in the zips', zips.others)}"] if zips.others else []
    notes += (
        [f"ignored: {listed('zip(s) of the zips beside', [path.name for path in zips.outer])}"] if zips.outer else []
    )
    notes += [f"ignored: {listed('.mat file(s) that the zips hold', [path.name for path in loose])}"] if loose else []
    return Source(
        folder=folder,
        description=f"figshare zips of MATLAB v7.3 files ({_count(len(used), 'zip')}, {_count(len(entries), 'slice')})",
        files=used + folds_files,
        known=_known(folds),
        entries=entries,
        aside=(*zips.outer, *loose),
        notes=tuple(notes),
    )


@dataclasses.dataclass(frozen=True)
class _Member:
    """One file in a zip."""

    zip: pathlib.Path
    archive: zipfile.ZipFile
    entry: str

    @property
    def name(self) -> str:
        """The file's name without folder and suffix."""
        return self.entry.rpartition("/")[2].rpartition(".")[0]

    @property
    def where(self) -> str:
        """The zip and the file, for error messages."""
        return f"{self.zip}/{self.entry}"

    def read(self) -> bytes:
        """The file's bytes."""
        return read_member(self.archive, self.entry, str(self.zip), "slice_file")


@dataclasses.dataclass
class _Zips:
    """What the zips of a folder hold.

    Attributes:
      members: the slices by their number.
      folds: the last `cvind.mat`, or None.
      others: names of the files that are neither.
      outer: zips that hold nothing but zips that stand beside them.
    """

    members: dict[int, _Member] = dataclasses.field(default_factory=dict)
    folds: _Member | None = None
    others: list[str] = dataclasses.field(default_factory=list)
    outer: list[pathlib.Path] = dataclasses.field(default_factory=list)

    @classmethod
    def of(cls, files: Sequence[pathlib.Path]) -> _Zips:
        """Opens the zips among the files."""
        zips = cls()
        for path in (path for path in files if path.suffix.lower() == ".zip"):
            archive = open_zip(path)
            _check_whole(archive, path)
            names = _safe_names(archive, path)
            if _holds_zips(path, names):
                zips.outer.append(path)
                continue
            inside = [_Member(path, archive, entry) for entry in names]
            if any(_SLICE_FILE.fullmatch(member.entry.rpartition("/")[2]) for member in inside):
                for member in inside:
                    zips.add(member)
        return zips

    def add(self, member: _Member) -> None:
        """Takes one file of a zip that holds slices."""
        base = member.entry.rpartition("/")[2]
        if base == FOLDS_FILE:
            self.folds = member
        elif _SLICE_FILE.fullmatch(base):
            other = self.members.setdefault(int(member.name), member)
            if other != member:
                raise InputError(f"{member.zip}: {base} is also in {other.where}, expected each slice once")
        elif base.lower().endswith(".mat"):
            raise InputError(f"{member.where}: expected files named N.mat with N a number, and {FOLDS_FILE}")
        else:
            self.others.append(member.entry)

    def numbers(self) -> dict[pathlib.Path, set[int]]:
        """The numbers of the slices in each zip."""
        found: dict[pathlib.Path, set[int]] = collections.defaultdict(set)
        for number, member in self.members.items():
            found[member.zip].add(number)
        return found


def _holds_zips(path: pathlib.Path, names: Sequence[str]) -> bool:
    """Whether a zip is one of zips, such as figshare's of the whole article, that stand unpacked beside it.

    Raises:
      InputError: it holds zips that do not stand there.
    """
    inner = [name for name in names if name.lower().endswith(".zip")]
    for name in inner:
        if not (path.parent / name.rpartition("/")[2]).exists():
            raise InputError(f"{path}: holds another zip ({name}), unpack it once and give the folder of its zips")
    return bool(inner)


def find_loose(folder: pathlib.Path, found: Walk) -> Source | None:
    """The loose `N.mat` in a folder, subfolders included, with `cvind.mat` if it is there; None if there are none.

    Raises:
      InputError: a .mat file is neither `N.mat` nor `cvind.mat`, or two have the same N.
    """
    paths = [path for path in found.files if path.suffix.lower() == ".mat" and path.name != FOLDS_FILE]
    if not paths:
        return None
    for path in paths:
        if not _SLICE_FILE.fullmatch(path.name):
            raise InputError(f"{path}: expected files named N.mat with N a number, and {FOLDS_FILE}")
    folds, folds_files = _loose_folds(found.files)
    by_number: dict[int, pathlib.Path] = {}
    for path in paths:
        other = by_number.setdefault(int(path.stem), path)
        if other != path:
            raise InputError(f"{path}: has the number of {other}, expected each slice once")
    entries = tuple((path.stem, functools.partial(_read_loose, path, folds)) for path in paths)
    description = f"loose MATLAB v7.3 files ({_count(len(entries), 'slice')})"
    return Source(folder, description, tuple(paths) + folds_files, _known(folds), entries)


def _read_fields(data: bytes, where: str, group: str | None, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named datasets of an HDF5 file as arrays, as h5py shows them."""
    with open_hdf5(data, where, "a readable MATLAB v7.3 (HDF5) file") as file:
        parent = file if group is None else child(file, group, where)
        if parent is None or not hasattr(parent, "keys"):
            raise InputError(f"{where}: found no group {group}, expected one as in the figshare files")
        fields = {}
        for name in names:
            field = child(parent, name, where)
            if field is None or not hasattr(field, "dtype"):
                place = name if group is None else f"{group}/{name}"
                raise InputError(f"{where}: found no {place}, expected it as in the figshare files")
            pixels = name in ("image", "tumorMask")
            for side in field.shape or () if pixels else ():
                check_limit("image_side", side, f"{where}: {group}/{name}")
            fields[name] = read_numbers(field, where, "slice_file" if pixels else "array")
        return fields


def _outline(mask: np.ndarray, where: str) -> np.ndarray:
    """Where the numbers of a mask are not 0, bool [H, W]."""
    if mask.dtype.kind != "b" and mask.size:
        whole = mask.dtype.kind in "ui" or bool((np.isfinite(mask) & (mask == np.floor(mask))).all())
        if not whole or mask.min() < 0:
            found = "negative numbers" if whole else "NaN, infinity or fractions"
            raise InputError(f"{where}: found {found} in cjdata/tumorMask, expected 1 in the tumour and 0 outside")
    return mask != 0


def _text(codes: np.ndarray, where: str) -> str:
    """MATLAB character codes as text."""
    if codes.dtype.kind not in "uif" or codes.size == 0 or not np.all((codes > 31) & (codes < 127) & (codes % 1 == 0)):
        raise InputError(f"{where}: found cjdata/PID of {codes.dtype} {codes.shape}, expected character codes")
    text = "".join(chr(int(code)) for code in codes.ravel()).strip()
    if not text or NO_PATIENT.fullmatch(text):
        raise InputError(f"{where}: found cjdata/PID {text!r}, which names no patient, expected an id")
    return text


def _fold(folds: np.ndarray, number: int, where: str) -> int:
    if not 1 <= number <= len(folds):
        raise InputError(f"{where}: {FOLDS_FILE} holds folds of slices 1 to {len(folds)}, found no fold of {number}")
    return int(folds[number - 1])


def _read_loose(path: pathlib.Path, folds: np.ndarray | None) -> RawSlice:
    return read_slice(_read_bytes(path), str(path), path.stem, folds)


def _read_bytes(path: pathlib.Path) -> bytes:
    with foreign(f"{path}: cannot be read"):
        return read_regular(path, "slice_file")


def _read_zipped(member: _Member, folds: np.ndarray | None) -> RawSlice:
    return read_slice(member.read(), member.where, member.name, folds)


def _check_whole(archive: zipfile.ZipFile, path: pathlib.Path) -> None:
    """Refuses a zip behind other bytes, such as several that were joined."""
    first = min((entry.header_offset for entry in archive.infolist()), default=0)
    if first > 0:
        raise InputError(
            f"{path}: found {first} bytes before the first file that it lists, expected one zip; where several were "
            "joined, the list is of the last alone: give them as they were downloaded"
        )


def _safe_names(archive: zipfile.ZipFile, path: pathlib.Path) -> list[str]:
    """The archive's file names, without what macOS adds; refuses names outside the folder."""
    names = []
    for entry in archive.infolist():
        name = entry.orig_filename.replace("\\", "/")
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
            raise InputError(f"{path}: holds the unsafe path {name!r}, expected names like 1.mat")
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


def _unpacked(files: Sequence[pathlib.Path], members: dict[int, _Member]) -> list[pathlib.Path]:
    """The loose slices, where zips were unpacked beside themselves: the zips are read, and must hold every slice."""
    loose = [path for path in files if _SLICE_FILE.fullmatch(path.name)]
    for path in loose:
        if int(path.stem) not in members:
            raise InputError(f"{path}: is in none of the zips beside it, expected either zips or loose .mat files")
    return loose


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
