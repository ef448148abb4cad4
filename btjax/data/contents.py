"""What the files of a source hold, in one hash: the key of its prepared copies.

Files are read and hashed once. As long as their names, sizes, inodes, and times of modification and of change are the
same, the hash is remembered; the time of change is the system's own and cannot be set back as a modification time can.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from btjax.base.errors import InputError
from btjax.base.files import only_process, read_json, write_json
from btjax.base.opening import open_regular
from btjax.readers.classes import CLASSES
from btjax.readers.raw import in_order

if TYPE_CHECKING:
    import pathlib

    from btjax.base.progress import ProgressCallback
    from btjax.readers.raw import Source

_FOLDER = "contents"


def contents_fingerprint(source: Source, cache: pathlib.Path, progress: ProgressCallback | None = None) -> str:
    """24 hexadecimal digits of everything that decides what is read from a source.

    These are its files' names and bytes, its classes, what it knows of a slice, and its key. Where the folder stands
    and when its files were written does not count.

    Args:
      source: the source.
      cache: an existing folder; what was hashed is remembered there.
      progress: called as `progress("hash", done, total)`.

    Raises:
      InputError: a file cannot be read.
    """
    known = cache / _FOLDER / f"{_state(source)}.json"
    if (fingerprint := _remembered(known)) is not None:
        return fingerprint
    known.parent.mkdir(exist_ok=True)
    with only_process(known.parent / "lock"):
        fingerprint = _remembered(known)  # another process may have hashed the same files meanwhile
        if fingerprint is None:
            fingerprint = _fingerprint(source, progress)
            write_json(known, {_FOLDER: fingerprint})
    return fingerprint


def _remembered(path: pathlib.Path) -> str | None:
    """The hash that a file remembers; None where there is none, or it is damaged."""
    try:
        values = read_json(path) if path.exists() else None
    except InputError:
        return None
    return values.get(_FOLDER) if isinstance(values, dict) else None


def _fingerprint(source: Source, progress: ProgressCallback | None) -> str:
    digest = hashlib.sha256(repr((source.description, sorted(source.known))).encode())
    if source.classes != CLASSES:
        digest.update(repr(source.classes).encode())
    if source.key:
        digest.update(repr(("key", source.key)).encode())
    files = sorted(set(source.files))
    for done, (path, contents) in enumerate(zip(files, in_order(_hash, files), strict=True), start=1):
        digest.update(repr((os.path.relpath(path, source.folder), contents)).encode("utf-8", "surrogateescape"))
        if progress is not None:
            progress("hash", done, len(files))
    return digest.hexdigest()[:24]


def _hash(path: pathlib.Path) -> str:
    try:
        with open_regular(path, "zip_file") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a file") from error


def _state(source: Source) -> str:
    """A hash of what the file system says of the files, and of how they are read."""
    entries = []
    for path in source.files:
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}), expected a file") from error
        entries.append((str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
    what = repr((source.description, sorted(source.known), source.classes, source.key, sorted(entries)))
    return hashlib.sha256(what.encode("utf-8", "surrogateescape")).hexdigest()[:32]
