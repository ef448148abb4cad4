"""Folders that commands write: only one that is new or the command's own, and one command at a time."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError, foreign, reason_of
from btjax.base.files import check_writable, make_folder, read_json, strangers, write_json

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Collection, Iterator, Mapping

    from btjax.base.progress import Observer

LOCK, MARK = ".btjax.lock", ".btjax.json"
"""Hidden files in a command's folder: who works in it, and what it holds. `strangers` passes over both."""

_ATTEMPTS = 100


@contextlib.contextmanager
def held(folder: pathlib.Path, observer: Observer | None = None, flag: str = "--workdir=") -> Iterator[None]:
    """Holds a folder for this process, so that a second command does not write into it as well.

    The operating system frees the lock when the process ends, however it ends. The folder is made where it is missing,
    and removed again where nothing was written into it.

    Args:
      folder: the folder.
      observer: is told where the file system keeps no locks.
      flag: what named it, for the error.

    Raises:
      InputError: another process holds it, or it cannot be written.

    Example:
      >>> import pathlib, tempfile
      >>> folder = pathlib.Path(tempfile.mkdtemp()) / "run"
      >>> with held(folder):
      ...     (folder / LOCK).exists()
      True
      >>> folder.exists()
      False
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    number, note = _lock(folder, flag)
    try:
        if note and observer is not None:
            observer.on_message(f"note: {note}")
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / LOCK).unlink()  # before it is let go: who opens it later opens a new one
        os.close(number)
        with contextlib.suppress(OSError):  # not empty
            for one in missing:
                one.rmdir()


@contextlib.contextmanager
def claimed(
    folder: pathlib.Path,
    kind: str,
    about: Mapping[str, Any],
    *,
    own: Collection[str] = (),
    observer: Observer | None = None,
    flag: str = "--workdir=",
) -> Iterator[None]:
    """Holds a folder for the results of a command: a new one, or one that holds what is asked for again.

    Args:
      folder: the folder.
      kind: of the results, such as "audit".
      about: JSON values of what is asked; results of other values are not overwritten.
      own: names by which a folder without a mark, of an earlier version, is known for this command's.
      observer: see `held`.
      flag: what named it, for errors.

    Raises:
      InputError: the folder holds something else, is held by another process, or cannot be written.
    """
    mark = {"kind": kind, "about": json.loads(json.dumps(about))}
    check_claim(folder, mark, own, flag)
    with held(folder, observer, flag):
        check_claim(folder, mark, own, flag)  # again: another command may have been there meanwhile
        new = not (folder / MARK).exists()
        if new:
            write_json(folder / MARK, mark)
        try:
            yield
        finally:
            if new and not strangers(folder):
                (folder / MARK).unlink(missing_ok=True)


def check_claim(folder: pathlib.Path, mark: Mapping[str, Any], own: Collection[str], flag: str) -> None:
    """Checks that a folder is new or holds what `mark` says; see `claimed`. Writes nothing."""
    check_writable(folder, flag)
    kind, about = mark["kind"], mark["about"]
    if not (folder / MARK).exists():
        if others := [path for path in strangers(folder) if path.name not in own]:
            raise InputError(
                f"{flag}{folder}: not empty and not marked as a folder of {kind} (found {others[0].name}), expected a "
                "new folder"
            )
        return
    there = read_json(folder / MARK, f"the mark of a folder of {kind}")
    found = there.get("kind") if isinstance(there, dict) else None
    if found != kind:
        raise InputError(f"{flag}{folder}: holds results of {found!r}, not of {kind}; name another folder")
    former = there.get("about")
    former = former if isinstance(former, dict) else {}
    for name in sorted(former.keys() | about.keys()):
        if former.get(name) != about.get(name):
            raise InputError(
                f"{flag}{folder}: holds results of {kind} with {name}={former.get(name)!r}, now "
                f"{name}={about.get(name)!r}; name another folder"
            )


def _lock(folder: pathlib.Path, flag: str) -> tuple[int, str]:
    """The descriptor of the folder's lock, held, and a note; see `held`."""
    path = folder / LOCK
    for _ in range(_ATTEMPTS):
        make_folder(folder, flag)
        with foreign(f"{flag}{folder}: cannot be locked", "a folder that can be written"):
            try:
                number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:
                continue  # its holder has just removed the folder
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(number)
            raise InputError(f"{flag}{folder}: held by {_holder(path)}; wait for it, or name another folder") from None
        except OSError as error:
            why = f"{folder} is on a file system without locks ({reason_of(error)})"
            return number, f"{_noted(path)}{why}; nothing keeps a second command from writing into it as well"
        if _is_there(path, number):
            note = _noted(path).removesuffix("; ")
            _sign(number)
            return number, note
        os.close(number)  # its former holder removed it between the two calls
    raise InputError(f"{flag}{folder}: cannot be locked, it is made and removed again and again")


def _is_there(path: pathlib.Path, number: int) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False


def _sign(number: int) -> None:
    """Writes into the lock who holds it."""
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(number, 0)
        os.pwrite(number, text.encode(), 0)


def _signature(path: pathlib.Path) -> dict[str, Any]:
    """What the holder of a lock, or the one before, wrote into it; empty where that is nothing."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) and values.keys() >= {"pid", "host", "since"} else {}


def _holder(path: pathlib.Path) -> str:
    """Who holds a lock, in words."""
    for _ in range(10):
        if signed := _signature(path):
            return f"process {signed['pid']} on {signed['host']}, since {signed['since']}"
        time.sleep(0.05)  # it has the lock and has not signed yet
    return "another process"


def _noted(path: pathlib.Path) -> str:
    """A note where a process on another machine signed the lock and did not take it away.

    It was killed; or it still runs, and the file system keeps each machine's locks to itself.
    """
    signed = _signature(path)
    if not signed or signed["host"] == socket.gethostname():
        return ""
    return (
        f"process {signed['pid']} on {signed['host']} began to write into {path.parent} at {signed['since']} and "
        "did not end in order; if it still runs, stop it: the file system keeps no locks between machines; "
    )
