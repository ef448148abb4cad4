"""Zips that somebody else wrote: opened and read within limits, with one error for every kind of damage."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

from btjax.base.errors import InputError, foreign, reason_of
from btjax.base.limits import check_limit, limit_of
from btjax.base.opening import open_regular

if TYPE_CHECKING:
    import pathlib

_PIECE, _SMALL_PIECE = 1 << 20, 4096


class _Zip(zipfile.ZipFile):
    """A zip that closes its file, which `zipfile` leaves to whoever opened it."""

    def __init__(self, path: pathlib.Path) -> None:
        # Opened by the zip itself, after which it is then finalised: so it closes without a warning.
        self._opened = _Bounded(open_regular(path, "zip_file").detach())
        try:
            super().__init__(self._opened)
        except BaseException:
            self._opened.close()
            raise

    def close(self) -> None:
        """Closes the zip and its file."""
        super().close()
        if hasattr(self, "_opened"):
            self._opened.close()


class _Bounded(io.BufferedReader):
    """A file that gives no more at once than a zip's list of files or a piece of a member may have."""

    def read(self, size: int | None = -1, /) -> bytes:
        check_limit("zip_list", -1 if size is None else size, f"{self.name}: the list of its files")
        return super().read(size)


def open_zip(path: pathlib.Path) -> zipfile.ZipFile:
    """Opens a zip for reading.

    Raises:
      InputError: it is missing, damaged, no zip, of a later version, or names files that are no text; or it lists more
        files than the limit `zip_list` allows.
    """
    try:
        return _Zip(path)
    except InputError:
        raise
    except Exception as error:  # which errors damage raises changes with the version of zipfile
        size = path.stat().st_size if path.exists() else 0
        found = f"{reason_of(error)}; {size} bytes"
        raise InputError(f"{path}: is not a complete zip ({found}), download it again") from error


def read_member(archive: zipfile.ZipFile, name: str, where: str, limit: str) -> bytes:
    """The bytes of one file in a zip.

    Args:
      archive: from `open_zip`.
      name: the file's name in it.
      where: names the zip, for errors.
      limit: the name of the file's limit in `btjax.base.limits`; what the zip declares must keep to it, and what comes
        out must be what it declares.

    Raises:
      InputError: it is missing, damaged, encrypted, or larger.
    """
    place = f"{where}: {name} in it"
    with foreign(f"{where}: cannot read {name} in it", "the zip as published"):
        entry = archive.getinfo(name)
        check_limit(limit, entry.file_size, place)
        # Of bzip2 and LZMA, Python unpacks all that it has read at once, up to a thousand times as much and more.
        plain = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        size, pieces, total = _PIECE if plain else _SMALL_PIECE, [], 0
        with archive.open(entry) as file:
            while piece := file.read(size):
                pieces.append(piece)
                total += len(piece)
                if total > min(entry.file_size, limit_of(limit)):
                    raise InputError(f"{place} holds more than the {entry.file_size} bytes that the zip declares")
        if total != entry.file_size:
            raise InputError(f"{place} holds {total} bytes, expected {entry.file_size} as the zip declares")
        return b"".join(pieces)
