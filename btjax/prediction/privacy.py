"""What DICOM headers say of people stays in them: neither names, ids nor dates reach a path, a message or a page."""

from __future__ import annotations

import re
import traceback
import warnings
from typing import TYPE_CHECKING, Any

from btjax.readers.dicom_header import open_dicom
from btjax.readers.pseudonyms import NO_PATIENT, pseudonym, without_names

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable

_PEOPLE = (
    "PatientName PatientID OtherPatientIDs OtherPatientNames PatientBirthName PatientMotherBirthName AccessionNumber "
    "StudyID ReferringPhysicianName PerformingPhysicianName OperatorsName InstitutionName PatientAddress"
).split()
_DATES = (
    "PatientBirthDate StudyDate SeriesDate AcquisitionDate ContentDate InstanceCreationDate AcquisitionDateTime"
).split()
_SHORTEST = 3
_LONGEST_SUFFIX = len(".dicom")


def private_words(path: pathlib.Path) -> frozenset[str]:
    """The words of a DICOM file's header that say who was examined, where, by whom and when.

    Returns:
      Whole values and the parts of names, of at least three letters; dates as 20010203, 2001-02-03, 2001_02_03 and
      2001.02.03. Nothing of a file whose header cannot be read.
    """
    import pydicom

    try:
        with warnings.catch_warnings(), open_dicom(path) as file:
            warnings.simplefilter("ignore")
            tags: list[Any] = [*_PEOPLE, *_DATES]
            dataset = pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=tags)
            people = [str(value) for name in _PEOPLE for value in _values(dataset.get(name))]
            dates = [str(value)[:8] for name in _DATES for value in _values(dataset.get(name))]
    except Exception:  # whatever is wrong with the file is told when it is read
        return frozenset()
    words = {value.strip() for value in people}
    words |= {part for value in people for part in re.split(r"[\^=,\s\\]+", value)}
    for date in dates:
        if re.fullmatch("[0-9]{8}", date):
            words |= {mark.join((date[:4], date[4:6], date[6:])) for mark in ("", "-", "_", ".")}
    return frozenset(word for word in words if len(word) >= _SHORTEST and not NO_PATIENT.fullmatch(word))


def _values(value: Any) -> list[Any]:
    """The values of an element that holds none, one or several."""
    from pydicom.multival import MultiValue

    if value is None or value == "":
        return []
    # A PersonName can be walked through too, letter by letter.
    return list(value) if isinstance(value, MultiValue | list) else [value]


def hide(path: pathlib.PurePath, words: Iterable[str], salt: bytes) -> str:
    """A path as people may see it: parts that hold one of the words are pseudonyms, with the suffix of a file kept.

    Example:
      >>> import pathlib
      >>> hide(pathlib.PurePosixPath("Doe_Jane/1.dcm"), ["Jane"], b"a secret").endswith("/1.dcm")
      True
    """
    hidden = without_names(path, words, salt)
    if hidden.name != path.name and path.suffix[1:].isalpha() and len(path.suffix) <= _LONGEST_SUFFIX:
        hidden = hidden.with_name(hidden.name + path.suffix)
    return hidden.as_posix()


def plain_reason(error: BaseException) -> str:
    """Why a DICOM file cannot be read, without what its header holds: pydicom's messages quote values."""
    cause = error.__cause__
    if cause is None:
        return str(error)
    frames = traceback.extract_tb(cause.__traceback__)
    own = bool(frames) and "btjax" in frames[-1].filename.replace("\\", "/").split("/")
    if own:
        return str(error)
    where = str(error).partition(": ")[0]
    return f"{where}: damaged, encrypted, or in no form that pydicom reads ({type(cause).__name__})"


def without_words(text: str, words: Iterable[str], salt: bytes) -> str:
    """A text in which every one of the words is replaced by its pseudonym, whatever its case."""
    for word in sorted(words, key=len, reverse=True):
        text = re.sub(re.escape(word), pseudonym(word, salt), text, flags=re.IGNORECASE)
    return text
