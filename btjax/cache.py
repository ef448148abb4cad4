"""The folder of what is computed once and kept: prepared slices, features, compiled programs."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pathlib
from collections.abc import Iterator

from btjax.errors import InputError


def cache_folder(cache_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """The folder of what is kept: `cache_dir`, else $BTJAX_CACHE, else ~/.cache/btjax."""
    return pathlib.Path(cache_dir or os.environ.get("BTJAX_CACHE") or "~/.cache/btjax").expanduser()


@contextlib.contextmanager
def only_process(path: pathlib.Path) -> Iterator[None]:
    """Holds a lock that the operating system frees when the process ends, however it ends."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def readable_errors(cache: pathlib.Path) -> Iterator[None]:
    """Turns a cache that cannot be written into an InputError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR):
            reason = error.strerror
        elif isinstance(error, FileExistsError):
            reason = "a file of that name exists"
        else:
            raise
        raise InputError(f"{cache}: cannot keep anything there ({reason}), set $BTJAX_CACHE") from error
