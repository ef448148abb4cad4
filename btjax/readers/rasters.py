"""What picture files hold: the stored values of one picture, upright, before anybody says which are grey levels.

Pillow decodes. tifffile decodes the TIFFs that Pillow does not know or reads to fewer bits than they hold.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import math
import re
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from btjax.base.errors import InputError, foreign
from btjax.base.limits import check_limit, limit_of
from btjax.base.opening import open_regular, read_regular
from btjax.readers.pictures import open_picture

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

IMAGE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".webp"),
    *(".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c", ".pgm", ".ppm", ".pnm", ".pbm", ".pfm", ".tga", ".pcx", ".sgi"),
    *(".qoi", ".mpo", ".avif", ".avifs", ".heic", ".heif", ".hif", ".jxl"),
)
"""What files of pictures end in. A few cannot be decoded everywhere (AVIF) or at all (HEIC, JPEG XL): they are refused
by name, since a picture that is passed over without a word is worse."""

TURNED = "turned upright by its EXIF orientation"
COPIES = "smaller copies in the same file left out"

_ORIENTATION = 274
_EXIF_KEYS = ("exif", "Raw profile type exif", "Raw profile type APP1", "xmp", "XML:com.adobe.xmp")
"""Where Pillow's `getexif` looks; it takes as long as decoding a small picture."""
_MOST_COPIES = 16
_LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF")
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_STARTS = (
    (0, b"version https://git-lfs", "a pointer of Git LFS (`git lfs pull` fetches the file itself)"),
    (0, b"/annex/objects/", "a pointer of git-annex (`git annex get` fetches the file itself)"),
    (0, b"%PDF", "a PDF"),
    (0, b"%!PS", "a PostScript file, which only a program can draw"),
    (0, b"PK\3\4", "a zip"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"MATLAB ", "a MATLAB file"),
    (128, b"DICM", "a DICOM file"),
    (4, b"ftyphei", "a HEIC picture, which Pillow does not decode"),
    (4, b"ftyphev", "a HEIC picture, which Pillow does not decode"),
    (4, b"ftypmif1", "a HEIF picture, which Pillow does not decode"),
    (4, b"ftypavi", "an AVIF picture, which this Pillow does not decode"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture, which Pillow does not decode"),
    (0, b"\xff\x0a", "a JPEG XL picture, which Pillow does not decode"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Raster:
    """The stored values of one picture, upright.

    Attributes:
      values: [H, W] grey or [H, W, 3] red, green, blue, of any integer or floating dtype; dark is low.
      alpha: uint8 [H, W], 0 transparent to 255 opaque, or None where every pixel is opaque.
      indices: uint8 [H, W], what a picture with a palette stores, or None.
      remarks: what was changed, in fixed words.
      lossy: whether the file's format may store other values than those that were saved, as JPEG does.
    """

    values: np.ndarray
    alpha: np.ndarray | None = None
    indices: np.ndarray | None = None
    remarks: tuple[str, ...] = ()
    lossy: bool = False


def open_raster(path: pathlib.Path) -> Raster:
    """Reads the one picture of a file.

    The EXIF orientation is applied, WhiteIsZero turned to dark is low, and no bit of depth is lost.

    Args:
      path: a file of any format that Pillow decodes, or a TIFF.

    Raises:
      InputError: the file is missing, empty, damaged, no picture, holds several pictures that are not smaller copies
        of the first, or more pixels a side than the limit `image_side` (`btjax.base.limits`).
    """
    try:
        with foreign(str(path), "an image"):
            return _open(path)
    except InputError as error:
        cause = error.__cause__
        if isinstance(cause, FileNotFoundError):
            kind = "a link to a file that is not there" if path.is_symlink() else None
            message = f"{path}: found {kind}, expected an image" if kind else f"{path}: no such file"
            raise InputError(message) from cause
        kind = None if cause is None or not path.is_file() else _kind(path)
        if kind or isinstance(cause, UnidentifiedImageError):
            raise InputError(f"{path}: expected an image, found {kind or 'another kind of file'}") from cause
        raise


def _open(path: pathlib.Path) -> Raster:
    # From memory: given a path, Pillow maps an uncompressed TIFF, and garbles it if its orientation is 5 to 8; and a
    # JPEG takes some thirty calls of the system to read.
    data = read_regular(path, "slice_file")
    try:
        image = open_picture(data)
    except UnidentifiedImageError:
        if not data.startswith(_TIFF_STARTS):
            raise
        return _with_tifffile(path, data)
    except Image.DecompressionBombError as error:
        count = re.search(r"[0-9]+", str(error))
        found = f"{count[0]} pixels" if count else "too many pixels"
        raise InputError(f"{path}: found {found}, expected at most {limit_of('image_side')} a side") from None
    _check_size(path, *image.size)
    remarks = _check_alone(path, image, data)
    if _is_lost_on_pillow(image):
        return _with_tifffile(path, data, remarks)
    if image.format == "PNG" and image.mode != "I;16" and "16B" in str(image.tile[0][3]):
        raster = _deep_png(path, image, data)
    elif image.format == "PPM" and image.mode == "RGB" and _most(image) > 255:
        raise InputError(f"{path}: found colours of more than 8 bits, expected 8-bit colours or 16-bit grey")
    else:
        image.load()
        raster = _mend_tiff(_raster(image), image)
        raster = dataclasses.replace(raster, lossy=image.format in _LOSSY)
    # Only now: a PNG may hold its EXIF behind the pixels, and of a TIFF Pillow has by now turned the pixels.
    told = image.format == "TIFF" or any(key in image.info for key in _EXIF_KEYS)
    return _turn(raster, image.getexif().get(_ORIENTATION, 1) if told else 1, remarks)


def _raster(image: Image.Image) -> Raster:
    """The values of a decoded picture of any mode of Pillow's."""
    mode, keyed = image.mode, "transparency" in image.info
    if mode in ("L", "I", "F") or mode.startswith("I;16"):
        values = np.asarray(image)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        key = image.info.get("transparency")
        return Raster(values, np.where(values == key, np.uint8(0), np.uint8(255)) if isinstance(key, int) else None)
    if mode == "1":
        return Raster(np.asarray(image.convert("L")))
    indices = np.asarray(image) if mode == "P" else None
    if mode in ("LA", "La"):
        return _split(np.asarray(image.convert("LA")))
    if mode in ("RGBA", "RGBa", "PA") or keyed:
        return _split(np.asarray(image.convert("RGBA")), indices)
    if mode == "LAB":
        from PIL import ImageCms

        to, from_ = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, from_, to, outputMode="RGB") or image
    return Raster(np.asarray(image.convert("RGB")), indices=indices)


def _split(bands: np.ndarray, indices: np.ndarray | None = None) -> Raster:
    """[H, W, 2 or 4], the last band of which is the alpha -> its raster."""
    alpha = bands[..., -1]
    if alpha.dtype != np.uint8:
        most = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "ui" else 1.0
        alpha = np.rint(np.clip(alpha.astype(np.float64) / most, 0, 1) * 255).astype(np.uint8)
    values = bands[..., 0] if bands.shape[-1] == 2 else bands[..., :3]
    return Raster(values, None if (alpha == 255).all() else alpha, indices)


def _turn(raster: Raster, orientation: Any, remarks: tuple[str, ...]) -> Raster:
    """The raster turned upright from one of EXIF's eight orientations; other numbers mean upright."""
    if orientation not in range(2, 9):
        return dataclasses.replace(raster, remarks=remarks) if remarks else raster

    def turned(values: np.ndarray) -> np.ndarray:
        if orientation >= 5:
            values = values.swapaxes(0, 1)
        if orientation in (3, 4, 7, 8):
            values = values[::-1]
        if orientation in (2, 3, 6, 7):
            values = values[:, ::-1]
        return np.ascontiguousarray(values)

    alpha, indices = (None if array is None else turned(array) for array in (raster.alpha, raster.indices))
    remarks = (*remarks, TURNED)
    return dataclasses.replace(raster, values=turned(raster.values), alpha=alpha, indices=indices, remarks=remarks)


def _check_size(path: pathlib.Path, width: int, height: int) -> None:
    # Each side alone: a slice is padded to a square before it is resized.
    check_limit("image_side", max(width, height), f"{path}: {width} x {height} pixels")


def _check_alone(path: pathlib.Path, image: Image.Image, data: bytes) -> tuple[str, ...]:
    """Remarks on the other pictures of a file; refuses all but smaller copies of the first."""
    count = getattr(image, "n_frames", 1)
    if image.format == "TIFF":
        _check_planes(path, data)
    if count == 1:
        return ()
    if count > _MOST_COPIES or not _are_copies(data, count):
        kind = "frames" if image.format in ("GIF", "PNG", "WEBP", "AVIF") else "pages"
        raise InputError(f"{path}: holds {count} {kind}, expected one picture")
    return (COPIES,)


def _check_planes(path: pathlib.Path, data: bytes) -> None:
    """Refuses a TIFF that keeps several planes under one page, as ImageJ and tifffile do and as volumes are stored."""
    with foreign(f"{path}", "a picture"), _open_tiff(data) as file:
        page = file.pages.first
        planes = max(math.prod(series.shape[:-2]) for series in file.series) if page.samplesperpixel == 1 else 1
        depth = getattr(page, "imagedepth", 1)
        if page.is_tiled:
            _check_size(path, page.tilewidth, page.tilelength)
    if len(file.pages) == 1 and max(planes, depth) > 1:
        raise InputError(f"{path}: holds {max(planes, depth)} pages, expected one picture")


def _are_copies(data: bytes, count: int) -> bool:
    """Whether the pictures 1 to count - 1 of a file are smaller copies of picture 0."""
    with open_picture(data) as image:
        first = image.convert("F")
        for page in range(1, count):
            image.seek(page)
            (width, height), (full_width, full_height) = image.size, first.size
            if not (width < full_width and height < full_height):
                return False
            if min(width, height) < 8 or abs(width / full_width / (height / full_height) - 1) > 0.1:
                return False
            expected = np.asarray(first.resize(image.size, Image.Resampling.BOX), np.float64).ravel()
            found = np.asarray(image.convert("F"), np.float64).ravel()
            if expected.std() == 0 or found.std() == 0 or np.corrcoef(expected, found)[0, 1] < 0.9:
                return False
    return True


def _deep_png(path: pathlib.Path, image: ImageFile.ImageFile, data: bytes) -> Raster:
    """A PNG of 16-bit colours: Pillow gives the upper bytes, or the lower ones when it is told the other byte order."""
    tile = image.tile[0]
    order = str(tile[3])
    if order not in ("RGB;16B", "RGBA;16B"):
        raise InputError(f"{path}: found 16-bit grey levels with transparency, expected them without, or 8 bits")
    image.load()
    upper = np.asarray(image)
    with open_picture(data) as again:
        again.tile = [type(tile)(*tile[:3], order.replace("16B", "16L"))]
        lower = np.asarray(again)
    bands = upper.astype(np.uint16) << 8 | lower
    return Raster(bands) if bands.shape[-1] == 3 else _split(bands)


def _most(image: ImageFile.ImageFile) -> int:
    """The largest value of a PPM."""
    args = image.tile[0][3]
    return args[-1] if isinstance(args, tuple) and isinstance(args[-1], int) else 255


def _tags(image: Image.Image) -> tuple[int, int, tuple[int, ...]] | None:
    """A TIFF's photometric interpretation, format of samples (1 unsigned, 2 signed, 3 floating), bits of each."""
    tags = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return None
    return tags.get(262, 0), tags.get(339, (1,))[0], tuple(tags.get(258, (1,)))


def _is_lost_on_pillow(image: Image.Image) -> bool:
    """Whether Pillow would drop bits of a TIFF, or swap bytes that libtiff has swapped already."""
    tags = _tags(image)
    if tags is None or max(tags[2]) <= 8:
        return False
    swapped = getattr(image, "tag_v2").prefix == b"MM" and image.info.get("compression") != "raw"  # noqa: B009
    return len(tags[2]) > 1 or (swapped and image.mode in ("I", "F"))


def _mend_tiff(raster: Raster, image: Image.Image) -> Raster:
    """What Pillow gets wrong of grey TIFFs: unsigned 32 bits, signed 8 bits, and WhiteIsZero of more than 8 bits."""
    tags = _tags(image)
    if tags is None or raster.values.ndim == 3 or len(tags[2]) != 1:
        return raster
    photometric, kind, (bits,) = tags
    values = raster.values
    if kind == 1 and bits == 32 and values.dtype == np.int32:
        values = values.view(np.uint32)
    if kind == 2 and bits == 8 and values.dtype == np.uint8:
        values = values.view(np.int8)
    if photometric == 0 and bits > 8:
        values = _inverted(values, bits)
    return dataclasses.replace(raster, values=values)


def _inverted(values: np.ndarray, bits: int) -> np.ndarray:
    """White is zero -> black is zero."""
    if values.dtype.kind == "u":
        return values.dtype.type(2**bits - 1) - values
    return ~values if values.dtype.kind == "i" else -values


@contextlib.contextmanager
def _open_tiff(data: bytes) -> Iterator[Any]:
    """A TIFF as tifffile opens it, which logs what it finds damaged: here that is an error's to say."""
    import tifffile

    def unheard(record: logging.LogRecord, reader: int = threading.get_ident()) -> bool:
        return record.thread != reader

    log = logging.getLogger("tifffile")
    log.addFilter(unheard)
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            yield file
    finally:
        log.removeFilter(unheard)


def _with_tifffile(path: pathlib.Path, data: bytes, remarks: tuple[str, ...] = ()) -> Raster:
    """A TIFF as tifffile reads it: grey or RGB of any depth, with or without alpha."""
    with _open_tiff(data) as file:
        if len(file.pages) != 1 and not remarks:
            raise InputError(f"{path}: holds {len(file.pages)} pages, expected one picture")
        page = file.pages.first
        _check_size(path, page.imagewidth, page.imagelength)
        check_limit("slice_file", page.nbytes, f"{path}: its pixels")
        values, photometric, bits = page.asarray(), int(page.photometric), page.bitspersample
        values = np.moveaxis(values, 0, -1) if page.axes == "SYX" else values
        extra = [int(kind) for kind in page.extrasamples]
        orientation = page.tags.valueof(_ORIENTATION, 1)
    bands = 1 if values.ndim == 2 else values.shape[-1]
    colours = {0: 1, 1: 1, 2: 3}.get(photometric, 0)
    if values.ndim not in (2, 3) or values.dtype.kind not in "uif" or bands != colours + len(extra) or len(extra) > 1:
        found = f"{values.dtype} {values.shape} of photometric interpretation {photometric}"
        raise InputError(f"{path}: found a TIFF of {found}, expected grey or RGB")
    if photometric == 0:
        values = _inverted(values, bits)
    if extra == [0]:
        values = values[..., 0] if colours == 1 else values[..., :colours]
    return _turn(_split(values) if extra in ([1], [2]) else Raster(values), orientation, remarks)


def _start(path: pathlib.Path) -> bytes:
    with open_regular(path, "slice_file") as file:
        return file.read(512)


def _kind(path: pathlib.Path) -> str | None:
    """What a file is that cannot be decoded, in words, or None where its start does not tell."""
    start = _start(path)
    if not start:
        return "an empty file"
    for offset, magic, words in _STARTS:
        if start[offset:].startswith(magic):
            return words
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if text.startswith((b"<?xml", b"<svg")):
        return "an XML file"
    if not start.strip(b"\0"):
        return "a file of zeros"
    printable = all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start)
    return "a text file" if printable else None
