"""The one place where picture files are opened with Pillow: the formats that btjax reads, and no other.

Pillow opens some forty formats. To show one of them, EPS, it starts Ghostscript; others read further files or are
seldom looked after. A file is tried for the formats of `FORMATS` alone, whatever it is called.
"""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from PIL import ImageFile

FORMATS = (
    *("PNG", "JPEG", "MPO", "BMP", "DIB", "TIFF", "GIF", "WEBP", "JPEG2000", "PPM", "AVIF", "QOI", "SGI", "PCX", "TGA"),
)
"""Pillow's names of the formats of `btjax.readers.rasters.IMAGE_SUFFIXES`; TGA, which has no mark, comes last."""


@functools.cache
def _known() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow knows."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_picture(data: bytes | io.BytesIO) -> ImageFile.ImageFile:
    r"""Opens a picture without decoding its pixels.

    Args:
      data: the file's bytes.

    Raises:
      PIL.UnidentifiedImageError: it is of no format of `FORMATS`.

    Example:
      >>> open_picture(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")
      Traceback (most recent call last):
      PIL.UnidentifiedImageError: ...
    """
    return Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=_known())
