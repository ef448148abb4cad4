"""Opening files that somebody else wrote: regular files alone, and none beyond the limit of its kind."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from btjax.base.errors import InputError
from btjax.base.limits import check_limit

if TYPE_CHECKING:
    import io
    import pathlib

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def odd_kind(mode: int) -> str | None:
    """What a file of this `st_mode` is, in words, where it is no regular file; None where it is one.

    Example:
      >>> odd_kind(stat.S_IFIFO), odd_kind(stat.S_IFREG | 0o644)
      ('a pipe', None)
    """
    if stat.S_ISREG(mode):
        return None
    return next((words for is_kind, words in _KINDS if is_kind(mode)), "no file")


def open_regular(path: str | os.PathLike, limit: str) -> io.BufferedReader:
    """Opens a regular file for reading; what would be waited for (a pipe, a socket, a device) is refused at once.

    Args:
      path: the file; links are followed.
      limit: the name of its limit in `btjax.base.limits`.

    Raises:
      InputError: no regular file, or a larger one.
      OSError: it is missing, or must not be read.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp(), "pipe")
      >>> os.mkfifo(path)
      >>> try:
      ...     open_regular(path, "slice_file")
      ... except InputError as error:
      ...     print(str(error).rpartition("/")[2])
      pipe: found a pipe, expected a regular file
    """
    file = open(path, "rb", opener=_at_once)  # noqa: SIM115, the caller closes it
    try:
        status = os.fstat(file.fileno())
        if kind := odd_kind(status.st_mode):
            raise InputError(f"{os.fspath(path)}: found {kind}, expected a regular file")
        check_limit(limit, status.st_size, os.fspath(path))
    except BaseException:
        file.close()
        raise
    return file


def _at_once(path: str, flags: int) -> int:
    """Opens a file; without O_NONBLOCK, that of a pipe waits for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def read_regular(path: str | os.PathLike, limit: str) -> bytes:
    """The bytes of a regular file; see `open_regular`."""
    with open_regular(path, limit) as file:
        return file.read()


def check_regular(path: pathlib.Path, limit: str) -> None:
    """Refuses what `open_regular` refuses, for libraries that open a file by its path."""
    open_regular(path, limit).close()
