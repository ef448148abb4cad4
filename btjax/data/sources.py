"""Finding out in which form a folder keeps its slices."""

from __future__ import annotations

import os
import pathlib

from btjax.base.errors import InputError
from btjax.data import figshare, folders
from btjax.data.raw import Source

ACCEPTED_FORMS = (
    "figshare's zips (brainTumorDataPublic_*.zip) or loose N.mat files, with cvind.mat beside them; "
    f"class folders of images named {folders.ACCEPTED_CLASSES}; "
    f"or images/ (and masks/) with {folders.MANIFEST}"
)
"""What a data folder may hold, in words."""


def find_source(data_dir: str | os.PathLike) -> Source:
    """Finds which form of the data a folder holds. No pixels are read.

    The first of these that is there counts: manifest.csv with images/, zips with N.mat, loose N.mat, class folders.
    Hidden files and what macOS adds are passed over.

    Args:
      data_dir: the folder.

    Returns:
      The source, with its description, its files and a reader of each slice.

    Raises:
      InputError: the folder is missing, empty, incomplete or in no form that is known.
    """
    folder = pathlib.Path(data_dir).expanduser()
    if not folder.exists():
        raise InputError(f"{folder}: no such folder, expected {ACCEPTED_FORMS}")
    if not folder.is_dir():
        raise InputError(f"{folder}: found a file, expected a folder with {ACCEPTED_FORMS}")
    files = list_files(folder)
    if not files:
        raise InputError(f"{folder}: found an empty folder, expected {ACCEPTED_FORMS}")
    for find in (folders.find_manifest, figshare.find_zips, figshare.find_loose, folders.find_classes):
        source = find(folder, files)
        if source is not None:
            return source
    names = [path.relative_to(folder).as_posix() for path in files[:3]]
    listed = ", ".join(names) + (", ..." if len(files) > 3 else "")
    raise InputError(f"{folder}: found {len(files)} files ({listed}), expected {ACCEPTED_FORMS}")


def list_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Every file below a folder, sorted; links to folders are followed once, hidden names are left out."""
    files, seen = [], set()
    for parent, directories, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            directories.clear()
            continue
        seen.add(real)
        directories[:] = sorted(name for name in directories if not _hidden(name))
        files += [pathlib.Path(parent) / name for name in sorted(names) if not _hidden(name)]
    return sorted(files)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
