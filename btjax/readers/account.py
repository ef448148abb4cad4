"""Every file of a data folder is read, named as ignored with its reason, or refused."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import zipfile
from typing import TYPE_CHECKING

from btjax.base.errors import InputError, foreign
from btjax.readers.figshare import FOLDS_FILE
from btjax.readers.folders import is_note
from btjax.readers.images import IMAGE_SUFFIXES
from btjax.readers.walk import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    for path in sorted(set(found.files).difference(source.files, source.aside)):
        name = path.relative_to(source.folder).as_posix()
        if path.name == FOLDS_FILE:
            ignored["file(s) of folds, which this form does not use"].append(name)
        elif path.suffix.lower() in _SLICES:
            raise InputError(
                f"{path}: is no part of the {source.description} in {source.folder}; expected one form in one folder"
            )
        elif path.suffix.lower() == ".zip":
            _check_unpacked(path, source.files)
            ignored["zip(s) unpacked here"].append(name)
        else:
            ignored["note(s)" if is_note(path) else "file(s) of other kinds"].append(name)
    reasons = [listed(reason, names, source.shown) for reason, names in ignored.items()]
    reasons += found.passed_in_words(source.shown)
    notes = (f"ignored: {', '.join(reasons)}",) if reasons else ()
    return dataclasses.replace(source, notes=source.notes + notes)


def _check_unpacked(path: pathlib.Path, files: Sequence[pathlib.Path]) -> None:
    """Refuses a zip that holds slices that do not stand unpacked beside it, by their names."""
    names = {file.name for file in files}
    with foreign(f"{path}", "a complete zip"), zipfile.ZipFile(path) as archive:
        inside = [pathlib.PurePosixPath(entry) for entry in archive.namelist()]
    slices = [entry for entry in inside if entry.suffix.lower() in _SLICES and not entry.name.startswith(".")]
    absent = [entry.as_posix() for entry in slices if entry.name not in names]
    if absent:
        raise InputError(
            f"{path}: holds {listed('file(s)', absent)} that do not stand beside it; unpack it, or move it away"
        )
