"""Folders of DICOM files or of NIfTI volumes as data: with labels in class folders, without them anywhere.

Needs the extra `medical`. Nothing of it is imported where a folder holds no such files.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import importlib.util
import os
import pathlib
from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError
from btjax.readers.classes import ACCEPTED_CLASSES, CLASSES
from btjax.readers.dicom import WINDOWS, find_frames, is_dicom
from btjax.readers.folders import Labelling, label_files
from btjax.readers.images import IMAGE_SUFFIXES
from btjax.readers.nifti import find_volumes, is_nifti
from btjax.readers.orientation import PLANES
from btjax.readers.parts import Found, Part
from btjax.readers.pseudonyms import pseudonym, read_salt, without_names
from btjax.readers.raw import RawSlice, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from btjax.readers.walk import Walk

_SECRET = "secret of the patients' pseudonyms"
"""A word whose pseudonym tells one secret from another without giving it away."""

_ONE = {"image": "an image", "DICOM": "a DICOM file", "NIfTI": "a NIfTI volume"}


@dataclasses.dataclass(frozen=True)
class MedicalOptions:
    """How DICOM files and NIfTI volumes are read.

    Attributes:
      plane: along which NIfTI volumes are cut: axial, coronal or sagittal. DICOM slices come as they were taken.
      window: stored takes DICOM pixels as they are; file clips them to the window that each file names.
      cache_dir: where the secret of pseudonyms and what is known of volumes are kept; see
        `btjax.base.files.cache_folder`.
    """

    plane: str = "axial"
    window: str = "stored"
    cache_dir: str | os.PathLike | None = None

    def __post_init__(self):
        if self.plane not in PLANES:
            raise InputError(f"plane: found {self.plane!r}, expected one of {', '.join(PLANES)}")
        if self.window not in WINDOWS:
            raise InputError(f"window: found {self.window!r}, expected one of {', '.join(WINDOWS)}")


def find_medical(
    folder: pathlib.Path, walked: Walk, labelled: bool = True, options: MedicalOptions | None = None
) -> Source | None:
    """DICOM files, or NIfTI volumes; None if there are neither.

    Labels are those of class folders (`btjax.readers.folders`). Folders that are called after none of the known classes
    count as classes only if no patient is in two of them and one of them holds two patients: else they are folders
    of patients, or of sequences. Patients are pseudonyms (`btjax.readers.pseudonyms`).

    Args:
      folder: the data folder.
      walked: what stands in it.
      labelled: False reads no labels, and needs none.
      options: how the files are read.

    Raises:
      InputError: images beside them, or both forms with labels; the extra is missing; labels are missing; a file is
        damaged.
    """
    options = options or MedicalOptions()
    files = walked.files
    volumes = [path for path in files if is_nifti(path)]
    frames = [path for path in files if not is_nifti(path) and is_dicom(path)]
    if not volumes and not frames:
        return None
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    _check_alone(folder, {"DICOM": frames, "NIfTI": volumes, "image": images}, labelled)
    for paths, package, form in ((frames, "pydicom", "DICOM"), (volumes, "nibabel", "NIfTI")):
        if paths and importlib.util.find_spec(package) is None:
            raise InputError(f"{folder}: found {form} files, which {package} reads: pip install btjax[medical]")
    salt, cache_dir = read_salt(options.cache_dir), options.cache_dir
    founds = [find_frames(folder, frames, salt, options.window)] if frames else []
    founds += [find_volumes(folder, volumes, salt, options.plane, cache_dir)] if volumes else []
    found = _together(founds)
    if not found.parts:
        told = "; ".join(found.notes)
        raise InputError(f"{folder}: found no slice of a head ({told}), expected at least one")
    shown = functools.partial(_shown, found.names, salt) if found.names else str
    labelling = _labelling(folder, walked, found, shown) if labelled else None
    source = _source(folder, found, labelling, [*volumes, *frames])
    return dataclasses.replace(source, key=pseudonym(_SECRET, salt), shown=shown)


def _shown(names: frozenset[str], salt: bytes, path: str) -> str:
    """A path in the folder as people may see it."""
    return without_names(pathlib.PurePosixPath(path), names, salt).as_posix()


def _source(folder: pathlib.Path, found: Found, labelling: Labelling | None, paths: Sequence[pathlib.Path]) -> Source:
    """The source of parts, with what their folders say of them."""
    known = frozenset.intersection(*(part.known for part in found.parts))
    entries, counts = [], collections.Counter()
    for part in found.parts:
        label = labelling.labels[part.paths[0]] if labelling else None
        side = labelling.sides[part.paths[0]] if labelling and labelling.sides else None
        entries.append((part.name, functools.partial(_read, part.read, known, {"label": label, "side": side})))
        counts[label] += 1
    told = "no labels"
    if labelling:
        told = ", ".join(f"{counts[label]} {name}" for label, name in enumerate(labelling.classes))
        known |= {"label", "side"} if labelling.sides else {"label"}
    patients = len({part.patient for part in found.parts})
    people = f"{patients} patient{'' if patients == 1 else 's'}" if "patient" in known else "unknown patients"
    used = dict.fromkeys(path for part in found.parts for path in part.paths)
    return Source(
        folder=folder,
        description=f"{found.form} ({len(entries)} slices of {people}{found.options}: {told})",
        files=tuple(used),
        known=known,
        entries=tuple(entries),
        classes=labelling.classes if labelling else CLASSES,
        aside=tuple(path for path in paths if path not in used),
        notes=found.notes,
    )


def _labelling(folder: pathlib.Path, walked: Walk, found: Found, shown: Callable[[str], str]) -> Labelling:
    """What the folders of files say of them, where it can be trusted."""
    paths = list(dict.fromkeys(path for part in found.parts for path in part.paths))
    labelling = label_files(folder, walked, paths)
    if labelling is None:
        expected = f"{found.form} in folders {ACCEPTED_CLASSES}, or reading without labels"
        raise InputError(f"{folder}: labels are missing, expected {expected}")
    labels, classes = labelling.labels, labelling.classes
    for part in found.parts:
        for path in part.paths[1:]:
            if labels[path] != labels[part.paths[0]]:
                both = f"{classes[labels[part.paths[0]]]} and {classes[labels[path]]}"
                raise InputError(f"{path}: holds the same as {part.paths[0]}, of {both}, expected one class for it")
    if not labelling.certain:
        _check_classes(folder, found.parts, labelling, shown)
    return labelling


def _check_classes(
    folder: pathlib.Path, parts: Sequence[Part], labelling: Labelling, shown: Callable[[str], str]
) -> None:
    """Refuses folders with names of the user's own that look like those of patients or of sequences."""
    patients = collections.defaultdict(set)
    for part in parts:
        patients[labelling.labels[part.paths[0]]].add(part.patient)
    told = set().union(*patients.values())
    shared = sum(map(len, patients.values())) > len(told)
    if None in told or shared or max(map(len, patients.values())) < 2:
        classes = labelling.classes
        listed = ", ".join(map(shown, classes[:3])) + (", ..." if len(classes) > 3 else "")
        found = f"{len(classes)} folders ({listed})"
        reason = "that share patients" if shared else "of one patient each"
        reason = "of patients that are not known" if None in told else reason
        raise InputError(f"{folder}: labels are missing: found {found} {reason}, expected folders {ACCEPTED_CLASSES}")


def _read(read: Callable[[], RawSlice], known: frozenset[str], fields: Mapping[str, Any]) -> RawSlice:
    """A slice with what its folder says of it, without the fields that other slices lack."""
    raw = read()
    return dataclasses.replace(raw, **{name: None for name in raw.known() - known}, **fields)


def _together(founds: Sequence[Found]) -> Found:
    """Slices of several forms as one."""
    return Found(
        form=" and ".join(found.form for found in founds),
        parts=tuple(part for found in founds for part in found.parts),
        notes=tuple(note for found in founds for note in found.notes),
        options="".join(found.options for found in founds),
        names=frozenset(name for found in founds for name in found.names),
    )


def _check_alone(folder: pathlib.Path, forms: Mapping[str, Sequence[pathlib.Path]], labelled: bool) -> None:
    """Refuses images beside the other forms, and, with labels, DICOM files beside NIfTI volumes.

    They may be the same scans twice, and classes that differ in their form are told apart by it.
    """
    counts = {form: len(paths) for form, paths in forms.items() if paths}
    if len(counts) > 1 and (labelled or "image" in counts):
        rare, common = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        common = common if common != rare else next(form for form in counts if form != rare)
        found = f"is one of {counts[rare]} {rare} files among {counts[common]} {common} files"
        raise InputError(f"{forms[rare][0]}: {found} in {folder}, expected {_ONE[common]} like them")
