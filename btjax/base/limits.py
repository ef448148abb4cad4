"""Sizes beyond which a file is refused before anything is allocated for it; every one has a name and can be raised.

A file of kilobytes may declare terabytes. Each limit lies well above what real data holds, and $BTJAX_LIMIT_NAME, such
as `BTJAX_LIMIT_IMAGE_SIDE=8192`, puts another in its place.
"""

from __future__ import annotations

import dataclasses
import os

from btjax.base.errors import InputError

_MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Limit:
    """The most of something: a whole number, and its unit in words."""

    most: int
    unit: str


LIMITS = {
    # Slices of MRI have 128 to 1024 pixels a side, photographs of films up to 4032.
    "image_side": Limit(4096, "pixels a side"),
    # 4096 x 4096 colours of 16 bits, stored without compression, are 100 MB; figshare's slices are 0.3 MB.
    "slice_file": Limit(256 * _MIB, "bytes"),
    # The longest array beside the pixels is that of folds, one number a slice: 25 kB of 3064 slices.
    "array": Limit(16 * _MIB, "bytes"),
    # MATLAB cuts a slice into a few chunks; files of one chunk a line would have 4096.
    "chunks": Limit(65_536, "chunks"),
    # 512 x 512 x 512 voxels, 0.5 mm of a whole head; a common volume has 256 x 256 x 200.
    "volume": Limit(512**3, "voxels"),
    # Headers of NIfTI with extensions reach 100 kB.
    "volume_header": Limit(64 * _MIB, "bytes"),
    # 512 x 512 x 512 voxels of 8 bytes and their header.
    "volume_file": Limit(1100 * _MIB, "bytes"),
    # Series of hundreds of volumes in one file of enhanced MR have some 20,000 frames and a gigabyte.
    "frames": Limit(65_536, "frames"),
    "dicom_file": Limit(4096 * _MIB, "bytes"),
    # The four published zips have 231 MB at most and list 766 files in 50 kB each.
    "zip_file": Limit(4096 * _MIB, "bytes"),
    "zip_list": Limit(8 * _MIB, "bytes"),
    # A row of the published manifest has 50 bytes: 16 MiB are 300,000 slices.
    "table": Limit(16 * _MIB, "bytes"),
    # Configs have 2 kB, reports with all their tables some megabytes.
    "json": Limit(64 * _MIB, "bytes"),
    # The largest array of VGG16, the kernel of its first dense layer, has 411 MB, the whole network 553 MB.
    "weights_array": Limit(1024 * _MIB, "bytes"),
    "weights_file": Limit(4096 * _MIB, "bytes"),
    # Features of VGG16's fourth block, of the 3064 slices and as many changed copies, have 5 GB in files of 256 rows.
    "kept": Limit(64 * 1024 * _MIB, "bytes"),
    # A slice of 4096 x 4096 in colour of 8 bits has 50 MB; DICOM files of one slice have 0.5 MB, photographs 10 MB.
    "upload": Limit(64 * _MIB, "bytes"),
    # The largest published file has 232 MB.
    "download": Limit(4096 * _MIB, "bytes"),
    "download_seconds": Limit(6 * 3600, "seconds"),
    # The 3064 slices at 512 x 512 have 0.8 GB.
    "data_set": Limit(64 * 1024 * _MIB, "bytes of pixels"),
}
"""The limits by name, each with what real data needs."""


def limit_of(name: str) -> int:
    """The limit of a name: that of $BTJAX_LIMIT_NAME, else its value in `LIMITS`.

    Raises:
      InputError: the variable holds no positive whole number.

    Example:
      >>> limit_of("image_side")
      4096
    """
    variable = f"BTJAX_LIMIT_{name.upper()}"
    given = os.environ.get(variable)
    if given is None:
        return LIMITS[name].most
    if not (given.isascii() and given.isdecimal() and 0 < len(given) <= 18 and int(given)):
        raise InputError(f"${variable}={given}: expected a positive whole number of {LIMITS[name].unit}")
    return int(given)


def check_limit(name: str, found: int, where: object) -> None:
    """Refuses a size above a limit.

    Args:
      name: of the limit.
      found: the size, in the limit's unit.
      where: the file, and what of it has this size.

    Raises:
      InputError: it is larger.

    Example:
      >>> check_limit("frames", 70_000, "1.dcm")
      Traceback (most recent call last):
      btjax.base.errors.InputError: 1.dcm: found 70000 frames, expected at most 65536 ($BTJAX_LIMIT_FRAMES raises it)
    """
    most = limit_of(name)
    if found > most:
        unit, variable = LIMITS[name].unit, f"$BTJAX_LIMIT_{name.upper()}"
        raise InputError(f"{where}: found {found} {unit}, expected at most {most} ({variable} raises it)")
