"""Files: the cache's folder, locks, and writing that leaves either the whole new file or the previous one."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import json
import os
import pathlib
import pwd
import re
from typing import TYPE_CHECKING, Any

import msgspec

from btjax.base.errors import InputError, Unwritable, foreign, reason_of
from btjax.base.opening import read_regular
from btjax.base.sealed import sealed, unsealed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CACHE_EXPECTED = "a folder with room that can be written; --cache_dir or $BTJAX_CACHE names another"
"""What the cache has to be, for errors."""


def expanded(path: str | os.PathLike) -> pathlib.Path:
    """A path as a user gives it, with a leading ~ or ~NAME replaced by that home folder.

    Raises:
      InputError: the home folder is not known, as of a container's user without a name.

    Example:
      >>> expanded("runs/cnn").as_posix(), expanded("~/runs") == pathlib.Path.home() / "runs"
      ('runs/cnn', True)
    """
    with foreign(os.fspath(path), "a path without ~, or $HOME to be set"):
        return pathlib.Path(path).expanduser()


def cache_folder(cache_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """The folder of what is computed once and kept: `cache_dir`, else $BTJAX_CACHE, else ~/.cache/btjax.

    Raises:
      InputError: the home folder is needed and not known.
    """
    given = cache_dir or os.environ.get("BTJAX_CACHE")
    if given:
        return expanded(given)
    with foreign("~/.cache/btjax", "--cache_dir or $BTJAX_CACHE to name a folder"):
        return pathlib.Path("~/.cache/btjax").expanduser()


def make_folder(path: pathlib.Path, flag: str = "") -> None:
    """Makes a folder and those above it; one that is there is left as it is.

    Args:
      path: the folder.
      flag: what named it, such as "--workdir=", for the error.

    Raises:
      InputError: it cannot be made.
    """
    with foreign(f"{flag}{path}: cannot be made", "a folder that can be written"):
        path.mkdir(parents=True, exist_ok=True)


def check_writable(path: pathlib.Path, flag: str = "") -> None:
    """Checks that a folder, or one that would be made at that path, can be written; makes nothing.

    Raises:
      InputError: it is a file, below a file, or without permission.
    """
    with foreign(f"{flag}{path}", "a folder that can be written"):
        above = next(one for one in (path, *path.absolute().parents) if one.exists())
        if not above.is_dir():
            raise InputError(f"{flag}{path}: found a file at {above}, expected a folder")
        if not os.access(above, os.W_OK | os.X_OK):
            raise InputError(f"{flag}{path}: no permission to write in {above}, expected a folder that can be written")


_LOG = re.compile(
    r"""\..* | .*\.(part|log|out|err)(\.\d+)? | .*\.p?[oe]\d+([-.]\d+)?  # hidden; nohup.out, slurm-1.out, job.o123
    | ((?:.*[-_. ])?(log|logs|nohup|slurm|stdout|stderr|out|err|output|console)(?:[-_. ].*)?)\.(txt|ansi|gz)
    | log | nohup | stdout | stderr | output""",
    re.VERBOSE | re.IGNORECASE,
)


def strangers(folder: pathlib.Path) -> list[pathlib.Path]:
    """What lies in a folder, sorted, but for logs, hidden files, and files that were not written to their end.

    People lead a command's output into the folder that it is to fill, and their tools leave hidden files there. A file
    into which this process writes its output counts as a log whatever its name.

    Raises:
      InputError: the folder cannot be read.

    Example:
      >>> import tempfile
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> for name in ("log.txt", "slurm-123.out", "nohup.out", ".DS_Store", "thesis.txt"):
      ...     (folder / name).touch()
      >>> [path.name for path in strangers(folder)]
      ['thesis.txt']
    """
    outputs = set()
    for number in (1, 2):
        with contextlib.suppress(OSError):  # closed
            status = os.fstat(number)
            outputs.add((status.st_dev, status.st_ino))

    def is_log(path: pathlib.Path) -> bool:
        status = path.lstat()
        if (status.st_dev, status.st_ino) in outputs:
            return True
        return _LOG.fullmatch(path.name) is not None and (path.name.startswith(".") or not path.is_dir())

    with foreign(str(folder), "a folder that can be read"):
        return [path for path in sorted(folder.iterdir()) if not is_log(path)] if folder.exists() else []


def write_whole(path: str | os.PathLike, write: Callable[[pathlib.Path], Any]) -> None:
    """Writes a file beside its place and moves it there when it is complete and on the disk.

    Args:
      path: where the file goes; its folder exists.
      write: writes the file whose path it is given, by whatever library; where it fails, the previous file stays.

    Raises:
      InputError: it cannot be written.

    Example:
      >>> import tempfile
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> write_whole(folder / "a.txt", lambda beside: beside.write_text("whole"))
      >>> [(path.name, path.read_text()) for path in folder.iterdir()]
      [('a.txt', 'whole')]
    """
    path = pathlib.Path(path)
    beside = path.with_name(path.name + ".part")
    with foreign(f"{path}: cannot be written", kind=Unwritable):
        try:
            write(beside)
            with open(beside, "rb") as file:
                os.fsync(file.fileno())
            beside.replace(path)
            sync_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):  # where nothing can be written, nothing can be removed either
                beside.unlink(missing_ok=True)


def sync_folder(folder: pathlib.Path) -> None:
    """Waits until what a folder lists is on the disk, where the file system does that for folders."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def sync_tree(folder: pathlib.Path) -> None:
    """Waits until everything in a folder is on the disk, whoever wrote it.

    Raises:
      OSError: the disk does not take it.
    """
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            with open(os.path.join(place, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(pathlib.Path(place))
    sync_folder(folder.parent)


def write_json(path: str | os.PathLike, values: Any, indent: int = 2, *, seal: bool = True) -> None:
    """Writes JSON values with `write_whole`, an object with the checksum of its content.

    Args:
      path: the file.
      values: JSON values; ValueError for a number that is not finite.
      indent: spaces.
      seal: False for a file that people also edit; see `btjax.base.sealed`.
    """
    values = sealed(values) if seal else values
    text = json.dumps(values, indent=indent, allow_nan=False) + "\n"
    write_whole(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def read_json(path: str | os.PathLike, expected: str = "a run's folder") -> Any:
    """Reads a JSON file; an object that has a checksum of its content is compared with it.

    Args:
      path: the file.
      expected: what its folder should be, for the error.

    Raises:
      InputError: the file is missing, cannot be read, is not JSON, or is not what was written.
    """
    try:
        return unsealed(msgspec.json.decode(read_regular(path, "json")), path)
    except FileNotFoundError:
        raise InputError(f"{path}: not found, expected {expected}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason_of(error)}), expected {expected}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:  # of old versions no ValueError
        raise InputError(f"{path}: not JSON: {error}") from None


@contextlib.contextmanager
def only_process(path: pathlib.Path) -> Iterator[None]:
    """Holds a lock that the operating system frees when the process ends, however it ends.

    Raises:
      InputError: the file of the lock cannot be made or locked.
    """
    with contextlib.ExitStack() as stack:
        with foreign(f"{path.parent}: cannot keep anything there", CACHE_EXPECTED):
            file = stack.enter_context(open(path, "w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_cache(cache: pathlib.Path) -> None:
    """Makes the cache's folder; InputError where it cannot be made."""
    with foreign(f"{cache}: cannot keep anything there", CACHE_EXPECTED):
        cache.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def nameless_owners() -> Iterator[None]:
    """Within it the user and group of a file have a name, if only their number.

    Etils, through which TensorFlow Datasets looks at files, asks the system for those names and fails where there are
    none: in a container that runs under any user id, or on a network drive (https://github.com/google/etils/issues/790).
    """
    user, group = pwd.getpwuid, grp.getgrgid

    def user_of(number: int) -> pwd.struct_passwd:
        try:
            return user(number)
        except KeyError:
            return pwd.struct_passwd((str(number), "x", number, number, "", "/", ""))

    def group_of(number: int) -> grp.struct_group:
        try:
            return group(number)
        except KeyError:
            return grp.struct_group((str(number), "x", number, []))

    pwd.getpwuid, grp.getgrgid = user_of, group_of
    try:
        yield
    finally:
        pwd.getpwuid, grp.getgrgid = user, group
