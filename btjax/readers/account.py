"""Every file of a data folder is read, named as ignored with its reason, or refused."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from typing import TYPE_CHECKING

from btjax.base.errors import InputError, foreign
from btjax.base.zips import open_zip
from btjax.readers.figshare import FOLDS_FILE
from btjax.readers.folders import is_note
from btjax.readers.images import IMAGE_SUFFIXES
from btjax.readers.manifest import MANIFEST
from btjax.readers.walk import listed

if TYPE_CHECKING:
    from btjax.readers.raw import Source
    from btjax.readers.walk import Walk

_SLICES = frozenset((*IMAGE_SUFFIXES, ".mat", ".dcm", ".dicom", ".ima", ".nii", ".gz", ".mha", ".mhd", ".nrrd"))
"""Suffixes of files that might hold slices."""


def account_for(source: Source, found: Walk) -> Source:
    """The source, with a note on what of its folder is ignored.

    Args:
      source: the form that was found.
      found: everything in its folder.

    Raises:
      InputError: a file that might hold slices belongs to another form, or a zip holds slices that are not read.
    """
    ignored = collections.defaultdict(list)
    among = {path.parent for path in source.files}.difference((source.folder,))
    for path in sorted(set(found.files).difference(source.files, source.aside)):
        name = path.relative_to(source.folder).as_posix()
        if not path.exists():
            raise InputError(f"{path}: is a link to nothing, expected a file or a folder")
        if path.name == MANIFEST:
            raise InputError(f"{path}: is a manifest below the data folder, expected --data_dir={path.parent}")
        if path.name == FOLDS_FILE:
            ignored["file(s) of folds, which this form does not use"].append(name)
        elif path.suffix.lower() in _SLICES:
            raise InputError(
                f"{path}: is no part of the {source.description} in {source.folder}; expected one form in one folder"
            )
        elif path.suffix.lower() == ".zip":
            ignored[_why_ignored(path, source)].append(name)
        elif is_note(path):
            ignored["note(s)"].append(name)
        elif path.parent in among:
            raise InputError(f"{path}: lies among the slices and is none that can be read, expected only slices there")
        else:
            ignored["file(s) of other kinds"].append(name)
    reasons = [listed(reason, names, source.shown) for reason, names in ignored.items()]
    reasons += found.passed_in_words(source.shown)
    notes = (f"ignored: {', '.join(reasons)}",) if reasons else ()
    return dataclasses.replace(source, notes=source.notes + notes)


def _why_ignored(path: pathlib.Path, source: Source) -> str:
    """Why a zip beside slices is ignored; refuses one that holds files that do not stand unpacked beside it."""
    with foreign(f"{path}", "a complete zip"), open_zip(path) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    beside = collections.defaultdict(list)
    for file in source.files:
        beside[file.name, file.stat().st_size].append(file.relative_to(source.folder).as_posix())
    absent, slices = [], 0
    for entry in entries:
        inside = pathlib.PurePosixPath(entry.filename)
        if "__MACOSX" in inside.parts or inside.name.startswith(".") or is_note(inside):
            continue
        slices += 1
        tail, same = f"/{entry.filename}", beside[inside.name, entry.file_size]
        if not any(tail.endswith(f"/{name}") or f"/{name}".endswith(tail) for name in same):
            absent.append(entry.filename)
    if absent:
        raise InputError(
            f"{path}: holds {listed('file(s)', absent)} that do not stand beside it; unpack it, or move it away"
        )
    return "zip(s) unpacked here" if slices else "zip(s) without slices"
