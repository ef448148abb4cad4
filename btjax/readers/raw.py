"""One slice as a file holds it, and the single way from there to `Slices`.

Every reader yields `RawSlice`; scaling to uint8, padding to a square, resizing and sorting happen here and nowhere
else, so the same slice gives the same bytes in every form that it is kept in.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from btjax.base.errors import InputError, foreign
from btjax.base.limits import check_limit
from btjax.readers import head
from btjax.readers.classes import CLASSES
from btjax.readers.slices import Slices

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

OPTIONAL_FIELDS = {
    "label": "labels",
    "patient": "patients",
    "mask": "masks",
    "fold": "folds",
    "plane": "planes",
    "side": "sides",
}
"""What a source may or may not know of a slice: field of `RawSlice` -> field of `Slices`."""

INTENSITY_RANGES = ("minmax", "percentile")
"""What a slice's own grey levels are scaled from; see `scale_to_uint8`."""

_AUTHORS_FOLDS = 5
_MOST_LEVEL = 1e20
"""Scanners and pipelines write levels below 1e10; beyond 1e20 stand words for "nothing", such as 1.7e308."""

PERCENTILES = (1, 99)
"""The ends of the range `percentile`."""


@dataclasses.dataclass(frozen=True, eq=False)
class RawSlice:
    """One slice as its file holds it.

    Attributes:
      image: [H, W] of any integer or floating dtype, upright, in the file's own units.
      label: index into the classes of its source, or None.
      id: the slice's name in its source.
      where: the file it came from, for error messages.
      patient: patient id, or None.
      mask: bool [H, W], tumour mask, or None.
      fold: the dataset authors' fold, 1 to 5, or None.
      plane: axial, coronal or sagittal, or None.
      side: the side of the data set's own division, of `btjax.readers.slices.SIDES`, or None.
      remarks: what reading had to change, in words that are the same for every slice of the kind.
    """

    image: np.ndarray
    label: int | None
    id: str
    where: str
    patient: str | None = None
    mask: np.ndarray | None = None
    fold: int | None = None
    plane: str | None = None
    side: str | None = None
    remarks: tuple[str, ...] = ()

    def known(self) -> frozenset[str]:
        """Names of the optional fields that this slice has."""
        return frozenset(name for name in OPTIONAL_FIELDS if getattr(self, name) is not None)


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A folder in one of the forms that users have; `btjax.data.sources.find_source` makes it.

    Attributes:
      folder: the folder.
      description: for people, such as "figshare zips of MATLAB v7.3 files (4 zips, 3064 slices)".
      files: every file that is read, for the fingerprint.
      known: the optional fields of `RawSlice` that every slice has here; `label` is one of them.
      entries: the slices' ids with a function that reads each, in the order of `id_order`.
      classes: the names of the classes that the labels count.
      aside: files that this form knows and does not read; `notes` says why.
      notes: what a user should be told about the folder, such as which files are ignored, and why.
      key: what slices depend on beside the files, such as the secret of patients' pseudonyms, hashed; "" for nothing.
      shown: a path inside the folder as people may see it, without names of patients.
    """

    folder: pathlib.Path
    description: str
    files: tuple[pathlib.Path, ...]
    known: frozenset[str]
    entries: tuple[tuple[str, Callable[[], RawSlice]], ...]
    classes: tuple[str, ...] = CLASSES
    aside: tuple[pathlib.Path, ...] = ()
    notes: tuple[str, ...] = ()
    key: str = ""
    shown: Callable[[str], str] = str

    def __post_init__(self):
        ids = [name for name, _ in self.entries]
        repeated = [name for name, count in collections.Counter(ids).items() if count > 1]
        if repeated:
            raise InputError(f"{self.folder}: slice {repeated[0]} is there twice, expected each id once")
        for name in ids:
            if not name.isprintable():
                where = f"{self.folder}: a slice is called {name!r}"
                raise InputError(f"{where}, expected a name without control characters, in UTF-8")
        order = id_order(ids)
        object.__setattr__(self, "entries", tuple(self.entries[row] for row in order))

    def __len__(self) -> int:
        return len(self.entries)

    def read(
        self, then: Callable[[RawSlice], Any] = lambda raw: raw, first: int = 0, last: int | None = None
    ) -> Iterator[Any]:
        """Yields `then(slice)` of entries `first` to `last` in order; decoding runs on all cores.

        Raises:
          InputError: a file cannot be read, or lacks a field that the others have.
        """

        def read_one(entry):
            with foreign(f"{self.folder}: slice {entry[0]} cannot be read"):
                raw = entry[1]()
            missing = self.known ^ raw.known()
            if missing:
                raise InputError(f"{raw.where}: slice {raw.id} has no {sorted(missing)[0]}, other slices have one")
            check_slice(raw)
            return then(raw)

        return in_order(read_one, self.entries[first:last])


def check_slice(raw: RawSlice) -> None:
    """Refuses what is no slice in any form: a picture of one level, and a mask that covers all four corners.

    Raises:
      InputError: see above.
    """
    if raw.image.size and raw.image.min() == raw.image.max():
        raise InputError(f"{raw.where}: holds one grey level alone, expected a slice")
    corners = np.ix_((0, -1), (0, -1))
    if raw.mask is not None and raw.mask.size and raw.mask[corners].all():
        raise InputError(f"{raw.where}: its mask covers all four corners and looks inverted, expected the tumour's")


def check_folds(folds: Iterable[float], where: str) -> None:
    """Refuses folds above the authors' five that leave others out: a fold 9999 beside 1 to 5 is a slip.

    Args:
      folds: the different folds of a data set, whole numbers from 1.
      where: the file and its column, for errors.

    Raises:
      InputError: the largest fold is above 5 and above how many there are.
    """
    known = sorted(set(folds))
    most = max(_AUTHORS_FOLDS, len(known))
    if known and not known[-1] <= most:
        raise InputError(f"{where}: found a fold {known[-1]:g}, expected folds from 1 to {most}")


def in_order(function: Callable[[Any], Any], items: Iterable[Any], threads: int | None = None) -> Iterator[Any]:
    """Yields function(item) for each item, in order, computed on several threads, a few items ahead.

    Pillow, NumPy and zlib release the interpreter lock, so threads suffice; the short window bounds the memory.
    """
    threads = threads or min(os.cpu_count() or 1, 16)
    waiting: collections.deque = collections.deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def id_order(ids: Iterable[str]) -> list[int]:
    """Row numbers that sort ids: by value when all are numbers (2 before 10), else as text."""
    ids = list(ids)
    numeric = all(name.isascii() and name.isdecimal() for name in ids)
    return sorted(range(len(ids)), key=lambda row: (int(ids[row]), ids[row]) if numeric else ids[row])


def scale_to_uint8(image: np.ndarray, where: str = "image", intensity_range: str = "minmax") -> np.ndarray:
    """Scales a slice by its own lowest and highest level: round((x - low) / (high - low) * 255), clipped to 0..255.

    They are its minimum and maximum or, for `percentile`, the 1st and 99th percentile of all its pixels, background
    included, interpolated linearly (NumPy's default); where these two coincide, minimum and maximum again.
    Computed in float64, where by minimum and maximum pixel * gain gives exactly the bytes of pixel. Halves are rounded
    to the even level. A constant image becomes zeros.

    Args:
      image: [H, W] of any integer or floating dtype.
      where: the file, for the error message.
      intensity_range: one of `INTENSITY_RANGES`.

    Returns:
      uint8 [H, W].

    Raises:
      InputError: the image is not a 2-D array of finite numbers, or is empty.
    """
    if image.ndim != 2 or image.size == 0 or image.dtype.kind not in "uif":
        raise InputError(f"{where}: found an image of {image.dtype} {image.shape}, expected numbers in two dimensions")
    _check_finite(image, where)
    low, high = _levels(image, intensity_range)
    if low == high:
        return np.zeros(image.shape, np.uint8)
    if image.dtype == np.uint8 and low == 0 and high == 255:
        return image
    scaled = image.astype(np.float64)
    if intensity_range != "minmax":
        np.clip(scaled, low, high, out=scaled)
    scaled -= low
    scaled /= high - low
    scaled *= 255
    return np.rint(scaled, out=scaled).astype(np.uint8)


def _check_finite(image: np.ndarray, where: str) -> None:
    """Refuses floating pixels that are no grey levels."""
    if image.dtype.kind != "f":
        return
    low, high = float(image.min()), float(image.max())  # NaN where a pixel is NaN
    if not -np.inf < low <= high < np.inf:
        raise InputError(f"{where}: the image holds NaN or infinity, expected finite pixels")
    if max(-low, high) > _MOST_LEVEL:
        found = f"{high if high >= -low else low:g}"
        raise InputError(f"{where}: the image holds the level {found}, expected levels up to {_MOST_LEVEL:g}")


def _levels(image: np.ndarray, intensity_range: str) -> tuple[float, float]:
    """The levels of an image that become 0 and 255; equal for a constant image."""
    if check_intensity_range(intensity_range) == "percentile":
        low, high = map(float, np.percentile(image.astype(np.float64), PERCENTILES))
        if low < high:
            return low, high
    return float(image.min()), float(image.max())


def scale_slice(
    image: np.ndarray, where: str = "image", intensity_range: str = "minmax", head_mask: bool = False
) -> np.ndarray:
    """`scale_to_uint8`, then 0 outside the head (`btjax.readers.head.head_mask`) where that is asked for: uint8 [H, W].

    The levels are those of the whole slice, so what is inside the head is the same with and without the mask.
    """
    scaled = scale_to_uint8(image, where, intensity_range)
    return head.black_outside(scaled, head.head_mask(image)) if head_mask else scaled


def pad_to_square(image: np.ndarray) -> np.ndarray:
    """[H, W] -> [max(H, W), max(H, W)]: zeros on both sides of the shorter axis, so that nothing is stretched."""
    height, width = image.shape
    side = max(height, width)
    if height == width:
        return image
    top, left = (side - height) // 2, (side - width) // 2
    return np.pad(image, ((top, side - height - top), (left, side - width - left)))


def resize_image(image: np.ndarray, image_size: int) -> np.ndarray:
    """uint8 [H, W] -> uint8 [image_size, image_size]: padded to a square, Pillow's antialiased bilinear filter."""
    square = pad_to_square(image)
    if len(square) == image_size:
        return square
    return np.asarray(Image.fromarray(square).resize((image_size, image_size), Image.Resampling.BILINEAR))


def resize_mask(mask: np.ndarray, image_size: int) -> np.ndarray:
    """Mask, bool [H, W] -> bool [image_size, image_size]: a pixel is in if at least half of its area is.

    A mask that is not empty stays so: if no pixel reaches one half, the most covered pixel is kept, so that a small
    tumour does not vanish.
    """
    square = pad_to_square(mask)
    if len(square) == image_size:
        return square
    area = Image.fromarray(square.astype(np.float32)).resize((image_size, image_size), Image.Resampling.BOX)
    covered = np.asarray(area)
    resized = covered >= 0.5
    if not resized.any() and square.any():
        resized = resized.copy()
        resized.flat[covered.argmax()] = True
    return resized


def prepare(
    raw: RawSlice, image_size: int, intensity_range: str = "minmax", head_mask: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """The image, uint8 [image_size, image_size], and the mask, bool of that shape or None, of one slice.

    Args:
      raw: the slice.
      image_size: side of the result in pixels.
      intensity_range: see `scale_to_uint8`.
      head_mask: whether what is outside the head is blacked, at the slice's own size; the tumour's mask stays whole.

    Raises:
      InputError: the pixels are not finite numbers in two dimensions, or the mask is of another shape than the image.
    """
    image = resize_image(scale_slice(raw.image, raw.where, intensity_range, head_mask), image_size)
    if raw.mask is None:
        return image, None
    if raw.mask.shape != raw.image.shape:
        raise InputError(f"{raw.where}: the mask is {raw.mask.shape}, expected the image's shape {raw.image.shape}")
    return image, resize_mask(raw.mask.astype(bool, copy=False), image_size)


class SlicesBuffer:
    """Arrays of a known number of rows that are filled one slice at a time, then become `Slices`.

    Where images and masks are given as `LazyRows`, they stay what they are, and the rest is filled.

    Filling preallocated arrays keeps 3064 slices of 512 x 512 with masks at 1.6 GB, without a second copy.
    """

    def __init__(
        self,
        rows: int,
        image_size: int,
        known: Iterable[str],
        classes: tuple[str, ...] = CLASSES,
        lazy: tuple[Any, Any] | None = None,
    ) -> None:
        self.known, self.classes, self._lazy = frozenset(known), classes, lazy is not None
        if lazy is None:
            check_limit("data_set", rows * image_size**2, f"{rows} slices of {image_size} x {image_size}")
            images = np.empty((rows, image_size, image_size), np.uint8)
            lazy = images, np.empty(images.shape, bool) if "mask" in self.known else None
        self.images, self.masks = lazy
        self.sizes = np.empty((rows, 2), np.int32)
        self.values: dict[str, list] = {name: [] for name in ("id", "remarks", *sorted(self.known - {"mask"}))}

    def put(self, row: int, image: Any, mask: Any, size: Sequence[int], **values: Any) -> None:
        """Fills one row; rows come in order. `values` are the id, the remarks, and whichever other fields are known.

        Args:
          row: the row's number.
          image: uint8 [S, S]; None where images are read lazily.
          mask: bool [S, S], or None where masks are not known or read lazily.
          size: height and width before resizing.
          **values: see `plain_fields`.
        """
        if not self._lazy:
            self.images[row] = image
            if self.masks is not None:
                self.masks[row] = mask
        self.sizes[row] = size
        for name, column in self.values.items():
            column.append(values[name])

    def slices(self) -> Slices:
        """The finished record."""
        arrays: dict[str, Any] = {"labels": None, "ids": np.array(self.values["id"], str)}
        if any(self.values["remarks"]):
            arrays["remarks"] = np.array(self.values["remarks"], str)
        for name in self.known - {"mask"}:
            arrays[OPTIONAL_FIELDS[name]] = np.array(self.values[name], np.int32 if name in ("label", "fold") else str)
        return Slices(images=self.images, sizes=self.sizes, masks=self.masks, classes=self.classes, **arrays)


def plain_fields(raw: RawSlice) -> dict[str, Any]:
    """The fields of a slice that are not arrays, by name; None where unknown, and the remarks as one text."""
    plain = {name: getattr(raw, name) for name in OPTIONAL_FIELDS if name != "mask"}
    return {"id": raw.id, "remarks": "; ".join(raw.remarks), **plain}


def check_intensity_range(intensity_range: str) -> str:
    """Returns intensity_range; raises InputError unless it is one of `INTENSITY_RANGES`."""
    if intensity_range not in INTENSITY_RANGES:
        raise InputError(f"intensity_range: found {intensity_range!r}, expected one of {', '.join(INTENSITY_RANGES)}")
    return intensity_range


def check_image_size(image_size: int) -> int:
    """Returns image_size; raises InputError unless it is 1 to 4096."""
    if not 1 <= image_size <= 4096:
        raise InputError(f"image_size: found {image_size}, expected 1 to 4096 pixels")
    return image_size
