"""Files: the cache's folder, locks, and writing that leaves either the whole new file or the previous one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pathlib
from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def cache_folder(cache_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """The folder of what is computed once and kept: `cache_dir`, else $BTJAX_CACHE, else ~/.cache/btjax."""
    return pathlib.Path(cache_dir or os.environ.get("BTJAX_CACHE") or "~/.cache/btjax").expanduser()


def write_whole(path: str | os.PathLike, write: Callable[[pathlib.Path], Any]) -> None:
    """Writes a file beside its place and moves it there when it is complete and on the disk.

    Args:
      path: where the file goes; its folder exists.
      write: writes the file whose path it is given; what it raises is passed on, and the previous file stays.

    Example:
      >>> import tempfile
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> write_whole(folder / "a.txt", lambda beside: beside.write_text("whole"))
      >>> [(path.name, path.read_text()) for path in folder.iterdir()]
      [('a.txt', 'whole')]
    """
    path = pathlib.Path(path)
    beside = path.with_name(path.name + ".part")
    try:
        write(beside)
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, values: Any, indent: int = 2) -> None:
    """Writes JSON values with `write_whole`; ValueError for a number that is not finite."""
    text = json.dumps(values, indent=indent, allow_nan=False) + "\n"
    write_whole(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def read_json(path: str | os.PathLike, expected: str = "a run's folder") -> Any:
    """Reads a JSON file.

    Args:
      path: the file.
      expected: what its folder should be, for the error.

    Raises:
      InputError: the file is missing, cannot be read, or is not JSON.
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found, expected {expected}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected {expected}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from None


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
