"""Which form of the data a folder holds."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from btjax.base.errors import InputError, foreign
from btjax.base.files import expanded
from btjax.readers import figshare, folders, manifest, medical
from btjax.readers.account import account_for
from btjax.readers.classes import ACCEPTED_CLASSES
from btjax.readers.walk import walk

if TYPE_CHECKING:
    import os
    import pathlib

    from btjax.readers.raw import Source

ACCEPTED_FORMS = (
    "figshare's zips (brainTumorDataPublic_*.zip) or loose N.mat files, with cvind.mat beside them; "
    f"class folders of images named {ACCEPTED_CLASSES}; "
    f"DICOM files or NIfTI volumes (.nii, .nii.gz) in such folders; or images/ (and masks/) with {manifest.MANIFEST}"
)
"""What a data folder may hold, in words."""


def find_source(
    data_dir: str | os.PathLike, labelled: bool = True, options: medical.MedicalOptions | None = None
) -> Source:
    """Finds which form of the data a folder holds. No pixels are read.

    The first of these that is there counts: manifest.csv with images/, zips with N.mat, loose N.mat, DICOM files or
    NIfTI volumes, class folders of images.
    Every file is then read, named in `Source.notes` as ignored, or refused; see `btjax.readers.walk` for what is passed
    over.

    Args:
      data_dir: the folder.
      labelled: False reads slices without labels too: a manifest without a column of labels, or images in any folders,
        whose names then mean nothing. `Source.known` says whether labels are known.
      options: how DICOM files and NIfTI volumes are read.

    Returns:
      The source, with its description, its files and a reader of each slice.

    Raises:
      InputError: the folder is missing, empty, incomplete or in no known form.
    """
    with foreign(f"{data_dir}", "a data folder that can be read"):
        return _find_source(expanded(data_dir), labelled, options)


def _find_source(folder: pathlib.Path, labelled: bool, options: medical.MedicalOptions | None) -> Source:
    if not folder.exists():
        raise InputError(f"{folder}: no such folder, expected {ACCEPTED_FORMS}")
    if not folder.is_dir():
        raise InputError(f"{folder}: found a file, expected a folder with {ACCEPTED_FORMS}")
    found = walk(folder)
    files = found.files
    if not files:
        beside = f", but for {', '.join(found.passed)}" if found.passed else ""
        raise InputError(f"{folder}: found an empty folder{beside}, expected {ACCEPTED_FORMS}")
    find_manifest = functools.partial(manifest.find_manifest, labelled=labelled)
    find_medical = functools.partial(medical.find_medical, labelled=labelled, options=options)
    find_images = folders.find_classes if labelled else folders.find_unlabelled
    for find in (find_manifest, figshare.find_zips, figshare.find_loose, find_medical, find_images):
        source = find(folder, found)
        if source is not None:
            return account_for(source, found)
    names = [path.relative_to(folder).as_posix() for path in files[:3]]
    listed = ", ".join(names) + (", ..." if len(files) > 3 else "")
    raise InputError(f"{folder}: found {len(files)} files ({listed}), expected {ACCEPTED_FORMS}")
