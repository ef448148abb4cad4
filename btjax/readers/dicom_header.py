"""What the header of a DICOM file says of its frames: place, order, patient; or why the file holds no slice.

No pixels are read here. pydicom is imported by the functions that need it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import operator
import pathlib
import re
import zlib
from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError, foreign
from btjax.base.limits import check_limit
from btjax.base.opening import open_regular
from btjax.readers.orientation import Turn, check_spacing, turn_of
from btjax.readers.pseudonyms import NO_PATIENT, NO_PATIENT_NUMBER

if TYPE_CHECKING:
    import io
    from collections.abc import Sequence

    from pydicom import Dataset

_TAGS = (
    "SOPClassUID SOPInstanceUID ImageType Modality SeriesDescription ProtocolName PatientID PatientName "
    "StudyInstanceUID SeriesInstanceUID SeriesNumber InstanceNumber AcquisitionNumber EchoNumbers "
    "TemporalPositionIdentifier ImagePositionPatient ImageOrientationPatient PixelSpacing PixelAspectRatio "
    "NumberOfFrames Rows Columns SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence"
).split()
_ORDERS = ("TemporalPositionIdentifier", "EchoNumbers", "AcquisitionNumber", "InstanceNumber")
_DIRECTORY = "1.2.840.10008.1.3.10"
_IMAGES = re.compile(r"\bImage Storage\b")
_LOCALIZER = re.compile(r"locali[sz]er|topogram|(?<![a-z])(scouts?|survey|loc)(?![a-z])", re.IGNORECASE)
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META, _START = 144, 4096
"""Where the group of file information begins behind its length, and how much of a file surely holds it."""
_SPECTRUM = re.compile(r"Spectroscopy")


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame of a DICOM file, as the header describes it.

    Attributes:
      path: the file.
      index: the frame's number in a file of several, from 0; None in a file of one.
      patient: PatientID, or the study's UID where that is empty or a word for "not known"; None where the file names
        no study either. Nothing but a hash of it may leave the reader.
      by_study: whether the study stands in for the patient.
      names: the id and the parts of the name, which ids of slices must not show.
      series: SeriesInstanceUID, and SeriesNumber, or 0.
      kind: the name of the SOP class, such as "MR Image Storage", or "".
      same: what two copies of one frame agree in; None where the file names no instance.
      turn: the turn to radiological orientation; None where the header tells no orientation.
      position: how far along the turn's normal the slice lies, in mm; None where it is not told.
      order: numbers that order what has the same position: time, echo, acquisition, instance, frame.
      number: InstanceNumber with the frame's number; None where it is not told.
      spacing: between rows and between columns, in mm, or their ratio; None where it is not told.
      rescale: slope and intercept of this frame alone; None where those of the file hold, if it has any.
      window: centre, width of this frame alone; None where those of the file hold, if it has any.
    """

    path: pathlib.Path
    index: int | None
    patient: str | None
    by_study: bool
    names: tuple[str, ...]
    series: tuple[str, int]
    kind: str
    same: tuple | None
    turn: Turn | None
    position: float | None
    order: tuple[int, ...]
    number: tuple[int, int] | None
    spacing: tuple[float, float] | None
    rescale: tuple[float, float] | None
    window: tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class Passed:
    """A DICOM file without slices of a head.

    Attributes:
      reason: why, in words.
      names: as in `Frame`.
    """

    reason: str
    names: tuple[str, ...]


def read_frames(path: pathlib.Path) -> list[Frame] | Passed:
    """The frames of a DICOM file, or the reason why it holds no slices of a head.

    Raises:
      InputError: the file is damaged, or no DICOM file.
    """
    with foreign(str(path), "a DICOM file"):
        import pydicom

        with open_dicom(path) as file:
            dataset = pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=list(_TAGS))
        kind, reason = _kind(dataset, path)
        if reason:
            return Passed(reason, _names(dataset))
        count = int(dataset.get("NumberOfFrames") or 1)
        check_limit("frames", count, path)
        check_limit("image_side", max(int(dataset.Rows), int(dataset.Columns)), path)
        groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
        if groups and len(groups) != count:
            raise ValueError(f"{len(groups)} descriptions of {count} frames")
        return [_frame(dataset, path, kind, number if count > 1 else None) for number in range(count)]


def open_dicom(path: pathlib.Path) -> io.BufferedReader:
    """Opens a DICOM file; a dataset that is deflated as a whole is checked to keep to the limit of a file.

    Raises:
      InputError: no regular file, or a larger one.
      OSError: it cannot be read.
    """
    file = open_regular(path, "dicom_file")
    with contextlib.ExitStack() as stack:
        stack.callback(file.close)
        start = file.read(_START)
        if _DEFLATED in start and start[128:132] == b"DICM":
            _check_inflated(file, path, _META + int.from_bytes(start[_META - 4 : _META], "little"))
        file.seek(0)
        stack.pop_all()
    return file


def _check_inflated(file: io.BufferedReader, path: pathlib.Path, offset: int) -> None:
    """Inflates what follows an offset, in pieces that are not kept, and counts its bytes."""
    file.seek(offset)
    unpacker, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not unpacker.eof and (piece := unpacker.unconsumed_tail or file.read(1 << 16)):
        total += len(unpacker.decompress(piece, 1 << 20))
        check_limit("slice_file", total, f"{path}: its dataset, unpacked")


def _kind(dataset: Dataset, path: pathlib.Path) -> tuple[str, str]:
    """The name of the SOP class, and why the file holds no slices: "" where it does."""
    from pydicom.uid import UID

    # A group of file information alone, or nothing at all, is what pydicom makes of other files.
    uid = UID(str(dataset.get("SOPClassUID") or getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID") or ""))
    kind = uid.name if uid and uid.name != uid else ""
    if uid == _DIRECTORY:
        return kind, "indexes (DICOMDIR)"
    measured = bool(dataset.get("Rows") and dataset.get("Columns"))
    if kind and (not _IMAGES.search(kind) or _SPECTRUM.search(kind)):
        return kind, f"{kind.removesuffix(' Storage')} objects without a slice"
    if not measured:
        # Makers' own kinds, such as Siemens's raw data; a UID that was cut off agrees with nothing.
        meta = getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID")
        if uid and not kind and uid == meta and uid.is_private and dataset.get("Modality"):
            return kind, "objects of a private kind without a slice"
        found = "no size of an image in the header" if kind else "no header of a DICOM file"
        raise InputError(f"{path}: found {found}, expected a whole DICOM file (this one is damaged, or is none)")
    words = [str(word) for word in _listed(dataset.get("ImageType"))]
    told = str(dataset.get("SeriesDescription") or dataset.get("ProtocolName") or "")
    if any(_LOCALIZER.search(word) for word in words) or _LOCALIZER.search(told):
        return kind, "localizers (scouts)"
    if "MOSAIC" in words:
        return kind, "mosaics of many slices in one image"
    return kind, ""


def _frame(dataset: Dataset, path: pathlib.Path, kind: str, index: int | None) -> Frame:
    """The frame of this number, from what the file says of it, of all frames, and at its top, in this order."""
    places = _groups(dataset, index or 0)

    def told(group: str, name: str, length: int) -> tuple[float, ...] | None:
        for place in places:
            item = _item(place, group, 0)
            if item is not None and (value := _numbers(item.get(name), length)) is not None:
                return value
        return _numbers(dataset.get(name), length) if length > 1 else None

    directions = told("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    point = told("PlanePositionSequence", "ImagePositionPatient", 3)
    if index is not None and not places:
        point = None  # one position at the top cannot be that of every frame
    turn = turn_of(directions[:3], directions[3:]) if directions else None
    position = round(math.fsum(map(operator.mul, point, turn.normal)), 3) if turn and point else None
    spacing = told("PixelMeasuresSequence", "PixelSpacing", 2) or _numbers(dataset.get("PixelAspectRatio"), 2)
    if spacing is not None:
        check_spacing(spacing, str(path))
    values = "PixelValueTransformationSequence"
    slope, intercept = told(values, "RescaleSlope", 1), told(values, "RescaleIntercept", 1)
    centre, width = told("FrameVOILUTSequence", "WindowCenter", 1), told("FrameVOILUTSequence", "WindowWidth", 1)
    instance = _whole(dataset.get("InstanceNumber"))
    identifier, study, uid = _identifier(dataset), _text(dataset, "StudyInstanceUID"), _text(dataset, "SOPInstanceUID")
    return Frame(
        path=path,
        index=index,
        patient=identifier or (f"study {study}" if study else None),
        by_study=bool(study and not identifier),
        names=_names(dataset),
        series=(_text(dataset, "SeriesInstanceUID"), _whole(dataset.get("SeriesNumber")) or 0),
        kind=kind,
        same=(uid, index, instance, point, path.stat().st_size) if uid else None,
        turn=turn,
        position=position,
        order=(*(_whole(dataset.get(name)) or 0 for name in _ORDERS), index or 0),
        number=None if instance is None and index is None else (instance or 0, index or 0),
        spacing=None if spacing is None else (spacing[0], spacing[1]),
        rescale=None if slope is None else (slope[0], intercept[0] if intercept else 0.0),
        window=None if centre is None or width is None else (centre[0], width[0]),
    )


def _text(dataset: Dataset, name: str) -> str:
    """An element as text without blanks around it; "" where it is missing."""
    return str(dataset.get(name) or "").strip()


def _identifier(dataset: Dataset) -> str:
    """PatientID, or "" where it names nobody."""
    found = _text(dataset, "PatientID")
    return "" if NO_PATIENT.fullmatch(found) or NO_PATIENT_NUMBER.fullmatch(found) else found


def _names(dataset: Dataset) -> tuple[str, ...]:
    """The patient's id and the parts of the patient's name."""
    parts = re.split(r"[\^=,\s]+", _text(dataset, "PatientName"))
    return tuple(filter(None, (_identifier(dataset), *parts)))


def _groups(dataset: Dataset, index: int) -> list[Dataset]:
    """What a file of several frames says of one of them, then of all; nothing where it has no such groups."""
    found = (
        _item(dataset, "PerFrameFunctionalGroupsSequence", index),
        _item(dataset, "SharedFunctionalGroupsSequence", 0),
    )
    return [item for item in found if item is not None]


def _item(dataset: Dataset, name: str, index: int) -> Dataset | None:
    """One item of a sequence, or None."""
    items = dataset.get(name)
    return items[index] if items and index < len(items) else None


def _listed(value: Any) -> Sequence[Any]:
    """The values of an element that holds none, one or several."""
    if value is None or value == "":
        return ()
    return [value] if isinstance(value, str | bytes | int | float) else list(value)


def _numbers(value: Any, length: int) -> tuple[float, ...] | None:
    """The finite numbers of an element, or None where it is missing or empty; of one number the first of several.

    Raises:
      ValueError: another count of numbers, or numbers that are not finite.
    """
    found = tuple(float(number) for number in _listed(value))
    if not found:
        return None
    found = found[:1] if length == 1 else found
    if len(found) != length or not all(math.isfinite(number) for number in found):
        raise ValueError(f"{len(found)} numbers {found} in the header, expected {length} finite ones")
    return found


def _whole(value: Any) -> int | None:
    """The first whole number of an element, or None."""
    values = _listed(value)
    return int(values[0]) if values else None
