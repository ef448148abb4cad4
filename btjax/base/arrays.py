"""Arrays kept in .npy files that end with a checksum of their content, compared when they are read."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from btjax.base.digests import bytes_digest
from btjax.base.errors import InputError, foreign
from btjax.base.files import write_whole
from btjax.base.opening import open_regular

if TYPE_CHECKING:
    import pathlib


def save_array(path: pathlib.Path, array: np.ndarray, about: str = "") -> None:
    """Writes an array as .npy, complete or not at all; `np.load` reads it as any other.

    Args:
      path: the file.
      array: of numbers; nothing is pickled.
      about: what the array is of; `load_array` with another text refuses it.

    Raises:
      InputError: it cannot be written.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.npy"
      >>> save_array(path, np.arange(3), "rows")
      >>> load_array(path, "rows").tolist(), np.load(path).tolist()
      ([0, 1, 2], [0, 1, 2])
    """
    array = np.ascontiguousarray(array)

    def write(beside: pathlib.Path) -> None:
        with open(beside, "w+b") as file:
            np.save(file, array, allow_pickle=False)
            end = file.tell()
            seal = _seal(file, end, array, about)
            file.seek(end)
            file.write(seal)

    write_whole(path, write)


def load_array(path: pathlib.Path, about: str = "") -> np.ndarray:
    """Reads what `save_array` wrote.

    Raises:
      InputError: there is none, it has no checksum, or it is not what was written for `about`.
    """
    with foreign(f"{path}: damaged, or not written by btjax"), open_regular(path, "kept") as file:
        array = np.load(file, allow_pickle=False)
        end = file.tell()
        found = file.read()
        if found != _seal(file, end, array, about):
            raise InputError(f"{path}: damaged: its content is not what was written there (SHA-256 differs)")
    return array


def _seal(file: BinaryIO, end: int, array: np.ndarray, about: str) -> bytes:
    """The checksum of what the array is of, of the file's header, and of the array's bytes."""
    file.seek(0)
    header = file.read(end - array.nbytes)
    content = bytes_digest(array.reshape(-1).view(np.uint8).data)
    return hashlib.sha256(header + content + about.encode()).digest()
