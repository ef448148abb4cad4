"""Slices kept as DICOM files, as a scanner or an archive (PACS) writes them.

Files are read whose suffix is .dcm, .dicom, .ima, a number (archives name files after UIDs) or missing. Frames are
ordered by their position in the patient. Pixels are the modality's values (after slope and intercept), upright in
radiological orientation, on square pixels.
"""

from __future__ import annotations

import collections
import functools
import pathlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.errors import InputError, foreign
from btjax.base.opening import open_regular
from btjax.readers.dicom_header import Frame, Passed, open_dicom, read_frames
from btjax.readers.orientation import RESAMPLED, TURNED, are_square, square_pixels
from btjax.readers.parts import Found, Part, recent
from btjax.readers.pseudonyms import pseudonym, without_names
from btjax.readers.raw import RawSlice, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydicom import Dataset

SUFFIXES = (".dcm", ".dicom", ".ima")
WINDOWS = ("stored", "file")

_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_WHOLE_LIST = 256
_EXTRA = "pip install btjax[medical]"


def is_dicom(path: pathlib.Path) -> bool:
    """Whether a file is meant as DICOM: by its suffix, or, where it has none that is a word, by its first bytes.

    Archives name files after UIDs, so what follows the last dot may be a number.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return True
    if suffix.strip(".0123456789") and suffix != ".":
        return False
    try:
        with open_regular(path, "dicom_file") as file:
            return file.read(132)[128:] == b"DICM"
    except (OSError, InputError):
        return False


def find_frames(folder: pathlib.Path, paths: Sequence[pathlib.Path], salt: bytes, window: str = "stored") -> Found:
    """The slices of DICOM files, and what is to be said of the files.

    Slices of one series and folder are numbered along the normal of their plane by ImagePositionPatient; by
    InstanceNumber where a slice of the series has no position; file names count for nothing. An id is the series'
    folder with that number; folders that are called after the patient have a pseudonym in it.

    Args:
      folder: the data folder.
      paths: the DICOM files in it.
      salt: the secret of pseudonyms.
      window: stored gives the values as they are, file those in the window that the file names (clipped to it).

    Raises:
      InputError: a file is damaged, or is compressed in a way that no installed decoder reads.
    """
    ignored: collections.Counter[str] = collections.Counter()
    frames: list[Frame] = []
    names: set[str] = set()
    with warnings.catch_warnings():
        # Scanners break small rules of the standard; pydicom warns of each value.
        warnings.simplefilter("ignore")
        for found in in_order(read_frames, paths):
            if isinstance(found, Passed):
                ignored[found.reason] += 1
                names.update(found.names)
            else:
                frames += found
    names.update(name for frame in frames for name in frame.names)
    frames, copies = _without_copies(frames)
    load = recent(_load, 4)
    parts = []
    for prefix, series in _named_series(folder, frames, salt).items():
        width = max(4, len(str(len(series))))
        for number, frame in enumerate(series, start=1):
            name = (prefix / f"{number:0{width}}").as_posix()
            patient = None if frame.patient is None else pseudonym(frame.patient, salt)
            known = {field for field, value in (("patient", patient), ("plane", frame.turn)) if value is not None}
            read = functools.partial(_read_frame, load, frame, name, (patient, window))
            parts.append(Part(name, (frame.path, *copies.get(frame, ())), patient, frozenset(known), read))
    notes = [f"{count} DICOM files ignored: {reason}" for reason, count in sorted(ignored.items())]
    notes += _notes(frames, sum(map(len, copies.values())))
    windowed = ", in the window of each file" if window == "file" else ""
    return Found("DICOM files", tuple(parts), tuple(notes), windowed, frozenset(names))


def _without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], dict[Frame, list[pathlib.Path]]]:
    """The frames without those that are there already, and the files of the copies of each."""
    first: dict[Any, Frame] = {}
    copies: dict[Frame, list[pathlib.Path]] = {}
    for frame in frames:
        kept = first.setdefault(frame.same or (frame.path, frame.index), frame)
        if kept is not frame:
            copies.setdefault(kept, []).append(frame.path)
    return list(first.values()), copies


def _named_series(
    folder: pathlib.Path, frames: Sequence[Frame], salt: bytes
) -> Mapping[pathlib.PurePath, Sequence[Frame]]:
    """The frames of each series in order, by the folder of their ids."""
    places: dict[pathlib.PurePath, dict[tuple[int, str], list[Frame]]] = {}
    for frame in frames:
        inside = pathlib.PurePosixPath(frame.path.parent.relative_to(folder).as_posix())
        place = without_names(inside, frame.names, salt)
        places.setdefault(place, {}).setdefault((frame.series[1], frame.series[0]), []).append(frame)
    named = {}
    for place, series in places.items():
        numbers = collections.Counter(number for number, _ in series)
        seen: collections.Counter[int] = collections.Counter()
        for (number, _), members in sorted(series.items()):
            seen[number] += 1
            again = f"-{seen[number]}" if numbers[number] > 1 else ""
            named[place if len(series) == 1 else place / f"series{number:03}{again}"] = _ordered(members)
    return named


def _ordered(frames: Sequence[Frame]) -> list[Frame]:
    """Frames of one series in the order of their positions; planes that differ one after the other."""
    if all(frame.position is not None and frame.turn is not None for frame in frames):
        normals = {frame: tuple(round(value, 2) for value in frame.turn.normal) for frame in frames if frame.turn}
        return sorted(frames, key=lambda frame: (normals[frame], frame.position, frame.order, frame.same or ()))
    return sorted(frames, key=lambda frame: (frame.number or (0, 0), frame.order, str(frame.same)))


def _notes(frames: Sequence[Frame], copies: int) -> list[str]:
    """What a user is told of the frames that are read."""
    kinds = collections.Counter(frame.kind.removesuffix(" Storage") for frame in frames if "MR" not in frame.kind)
    notes = [f"{count} slices are no MR images: {kind or 'of no kind that is told'}" for kind, count in kinds.items()]
    counts = {
        "DICOM files ignored: copies of another file here": copies,
        "DICOM slices have no position: ordered by InstanceNumber": sum(
            frame.position is None and frame.number is not None for frame in frames
        ),
        "DICOM slices have neither position nor InstanceNumber: their order means nothing": sum(
            frame.position is None and frame.number is None for frame in frames
        ),
        "DICOM slices have no orientation: taken as they are stored": sum(f.turn is None for f in frames),
        "DICOM slices have no PatientID: each study counts as a patient": sum(frame.by_study for frame in frames),
        "DICOM slices have neither PatientID nor a study: patients are not known": sum(
            frame.patient is None for frame in frames
        ),
    }
    return sorted(notes) + [f"{count} {what}" for what, count in counts.items() if count]


def _load(path: pathlib.Path) -> Dataset:
    """A whole DICOM file."""
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    with foreign(str(path), "a DICOM file"):
        with open_dicom(path) as file:
            dataset = pydicom.dcmread(file, force=True)
        if not dataset.file_meta.get("TransferSyntaxUID"):
            implicit, little = dataset.original_encoding
            explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
        _check_decoder(dataset, path)
        return dataset


def _check_decoder(dataset: Dataset, path: pathlib.Path) -> None:
    """Refuses a transfer syntax that nothing installed can decode."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        expected = "a still image in a transfer syntax that pydicom decodes"
        raise InputError(f"{path}: found the transfer syntax {syntax.name}, expected {expected}") from None
    if not available:
        raise InputError(f"{path}: found the transfer syntax {syntax.name}, whose decoder is missing: {_EXTRA}")


def _read_frame(
    load: Callable[[pathlib.Path], Dataset], frame: Frame, name: str, options: tuple[str | None, str]
) -> RawSlice:
    """The pixels of one frame, in radiological orientation on square pixels."""
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import RLELossless

    patient, window = options
    where = str(frame.path) if frame.index is None else f"{frame.path} (frame {frame.index + 1})"
    dataset = load(frame.path) if frame.index is not None else _load(frame.path)
    with foreign(where, "an image in the DICOM file"):
        # pylibjpeg's decoder of RLE, where it is installed, panics (no Exception) at damaged data; pydicom's does not.
        decoder = "pydicom" if dataset.file_meta.TransferSyntaxUID == RLELossless else ""
        stored = pixel_array(dataset, index=frame.index, decoding_plugin=decoder)
        pixels = _grey(dataset, stored, frame, window)
    image, spacing, remarks = pixels, frame.spacing, ()
    if frame.turn is not None:
        image = frame.turn(image)
        spacing = spacing[::-1] if spacing and frame.turn.transpose else spacing
        remarks += (TURNED,) if frame.turn.moves else ()
    if spacing is not None and not are_square(spacing):
        image = square_pixels(image, spacing)
        remarks += (RESAMPLED,)
    plane = None if frame.turn is None else frame.turn.plane
    fields = {"patient": patient, "plane": plane, "remarks": remarks}
    return RawSlice(image=image, label=None, id=name, where=where, **fields)


def _grey(dataset: Dataset, pixels: np.ndarray, frame: Frame, window: str) -> np.ndarray:
    """The modality's values of stored pixels: bright where the image is to be bright, padding at the lowest value."""
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

    kind = str(dataset.PhotometricInterpretation)
    if kind == "PALETTE COLOR":
        entries, _, bits = dataset.RedPaletteColorLookupTableDescriptor
        if bits == 8 and (entries or 65536) > _WHOLE_LIST:
            raise ValueError(f"a palette of {entries or 65536} colours of 8 bits, at most {_WHOLE_LIST} are read")
        return _luma(apply_color_lut(pixels, dataset))
    if kind in _COLOURS:
        return _luma(pixels)
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"photometric interpretation {kind!r}, which is neither grey nor a colour that is read")
    slope, intercept = frame.rescale or (dataset.get("RescaleSlope"), 0.0)
    if slope == 0:
        raise ValueError("a rescale slope of 0")
    padding = _padding(dataset, pixels)
    own = frame.rescale is not None
    values = pixels * np.float64(slope) + intercept if own else apply_modality_lut(pixels, dataset)
    if window == "file":
        values = _windowed(dataset, values, frame)
    if kind == "MONOCHROME1":
        values = values.max().astype(np.float64) + values.min() - values
    if padding is None or padding.all() or not padding.any():
        return values
    lowest = values[~padding].min()
    if kind == "MONOCHROME2" and lowest >= 0 and not values[padding].any():
        return values  # the padding is 0, no signal, below everything else
    return np.where(padding, lowest, values)


def _luma(colours: np.ndarray) -> np.ndarray:
    """[H, W, 3 or 4] -> float64 [H, W]: ITU-R 601, exact for greys."""
    return colours[..., :3].astype(np.float64) @ np.array([299.0, 587.0, 114.0]) / 1000


def _padding(dataset: Dataset, pixels: np.ndarray) -> np.ndarray | None:
    """Where stored pixels say that nothing was measured; None where the file names no such value."""
    value = dataset.get("PixelPaddingValue")
    if value is None or pixels.dtype.kind not in "ui":
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    # Some writers give a signed value as an unsigned number; the cast makes it what the pixels hold.
    ends = (value, value if limit is None else limit)
    first, last = sorted(int(np.array(end, np.int64).astype(pixels.dtype)) for end in ends)
    return (pixels >= first) & (pixels <= last)


def _windowed(dataset: Dataset, values: np.ndarray, frame: Frame) -> np.ndarray:
    """The values in the window of the frame or of the file."""
    import pydicom
    from pydicom.pixels.processing import apply_voi_lut

    if frame.window is not None:
        shown = pydicom.Dataset()
        for name in ("PhotometricInterpretation", "BitsStored", "PixelRepresentation"):
            setattr(shown, name, dataset[name].value)
        shown.WindowCenter, shown.WindowWidth = frame.window
        return apply_voi_lut(values, shown)
    centre, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if not dataset.get("VOILUTSequence") and (centre is None or not width):
        raise ValueError("no window (WindowCenter, WindowWidth) in the header, expected one for --window=file")
    return apply_voi_lut(values, dataset)
