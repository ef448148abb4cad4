"""Resumable downloads that are checked before they count."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import pathlib
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING

from btjax.base.errors import InputError
from btjax.base.files import expanded, write_whole
from btjax.base.limits import check_limit, limit_of
from btjax.base.opening import open_regular, read_regular
from btjax.readers import figshare

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from btjax.base.progress import ProgressCallback

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60
_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
      name: its name on disk.
      url: where it is.
      size: its length in bytes, or None if it is not known.
      sha256: 64 hexadecimal digits, or None if no hash is published.
      check: raises InputError for a file with wrong contents; for files without a hash.
      md5: 32 hexadecimal digits, where that is what was published, or None.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None
    check: Callable[[pathlib.Path], None] | None = None
    md5: str | None = None


def _check_folds(path: pathlib.Path) -> None:
    folds = figshare.read_folds(read_regular(path, "array"), str(path))
    if len(folds) != 3064:
        raise InputError(f"{path}: found the folds of {len(folds)} slices, expected 3064")


FIGSHARE = (
    RemoteFile(
        "brainTumorDataPublic_1-766.zip",
        "https://ndownloader.figshare.com/files/3381290",
        214401279,
        "cdac0a7f4152cb34dd79b13543da96c37a6928ad8cb823e2662150b1a73ade54",
    ),
    RemoteFile(
        "brainTumorDataPublic_767-1532.zip",
        "https://ndownloader.figshare.com/files/3381296",
        217848429,
        "d18e896d14f7af791cdd3d9b9342f9f974742a06132effde5a5219209862b4ce",
    ),
    RemoteFile(
        "brainTumorDataPublic_1533-2298.zip",
        "https://ndownloader.figshare.com/files/3381293",
        215563856,
        "612d9f506c55c54db5f2f38b6d50741ef97a6d7c32b3e1be76e789674a97aefb",
    ),
    RemoteFile(
        "brainTumorDataPublic_2299-3064.zip",
        "https://ndownloader.figshare.com/files/3381302",
        231679762,
        "9a673c55d139133cfbc57097bf155b5ac9f33684ee97f40bf2afba332d416a3a",
    ),
    RemoteFile("cvind.mat", "https://ndownloader.figshare.com/files/7005344", check=_check_folds),
)
"""The published data set, figshare article 1512427 (CC BY 4.0). No hash of cvind.mat is published."""


def download_figshare(
    folder: str | os.PathLike, progress: ProgressCallback | None = None, trust_present: bool = False
) -> list[pathlib.Path]:
    """Downloads the published data set, 880 MB, into `folder`; what is there and right is not fetched again.

    Args:
      folder: made if it is missing.
      progress: called as `progress(file name, bytes done, bytes in all)`.
      trust_present: take files that are there without hashing them; for a folder that only this function fills.

    Returns:
      The files' paths.

    Raises:
      InputError: see `fetch`.
    """
    return fetch_all(FIGSHARE, folder, progress, trust_present)


def fetch_all(
    remotes: Iterable[RemoteFile],
    folder: str | os.PathLike,
    progress: ProgressCallback | None = None,
    trust_present: bool = False,
) -> list[pathlib.Path]:
    """Fetches several files into one folder, see `fetch`."""
    folder = expanded(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}), expected a folder to download into") from error
    present = [folder / remote.name for remote in remotes]
    if trust_present and all(path.exists() for path in present):
        return present
    return [fetch(remote, folder, progress) for remote in remotes]


def fetch(remote: RemoteFile, folder: pathlib.Path, progress: ProgressCallback | None = None) -> pathlib.Path:
    """Fetches one file into `folder`.

    Bytes go to NAME.part, which a later call continues with an HTTP Range request; only a file whose size and hash
    are right gets its name.

    Args:
      remote: what to fetch.
      folder: an existing folder.
      progress: called as `progress(remote.name, bytes done, bytes in all)`.

    Returns:
      The file's path.

    Raises:
      InputError: the server cannot be reached or breaks off (the part is kept), the bytes are wrong (the part is
        removed), or another file of that name is there (it is left alone).
    """
    path, part = folder / remote.name, folder / f"{remote.name}.part"
    if path.exists():
        wrong = _wrong(path, remote)
        if wrong:
            raise InputError(f"{path}: {wrong}; delete it to download it again")
        return path
    failure, began = None, time.monotonic()
    for _ in range(_ATTEMPTS):
        before = _length(part)
        try:
            failure = _continue(remote, part, began, progress)
        except InputError:
            part.unlink(missing_ok=True)
            raise
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            failure = " ".join(str(error).split())
        if failure is None or _length(part) == before:
            break
    if failure is not None:
        kept = f"{_length(part)} bytes are kept, run it again to go on"
        raise InputError(f"{remote.url}: the download of {remote.name} failed ({failure}); {kept}")
    wrong = _wrong(part, remote)
    if wrong:
        part.unlink()
        raise InputError(f"{remote.url}: {wrong}; the download was removed")
    write_whole(path, part.replace)
    return path


def _continue(remote: RemoteFile, part: pathlib.Path, began: float, progress: ProgressCallback | None) -> str | None:
    """Downloads what is missing in `part`. Returns None when it is whole, else why it is not."""
    start = _length(part)
    if remote.size is not None and start >= remote.size:
        return None
    headers = {"User-Agent": "btjax", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            # The server has no bytes beyond these, so the file is complete; if it is not, `fetch` refuses it.
            return None
        return f"HTTP status {error.code}"
    with response:
        if response.status not in (200, 206):
            return f"HTTP status {response.status}"
        resumed = response.status == 206
        if resumed and not re.match(rf"bytes {start}-", response.headers.get("Content-Range", "")):
            return "the server sent another range than asked for"
        done = start if resumed else 0
        length = response.headers.get("Content-Length")
        total = remote.size or (done + int(length) if length else 0)
        with open(part, "ab" if resumed else "wb") as file:
            while block := response.read1(_CHUNK):
                done += len(block)
                _check_bounds(remote, done, began)
                file.write(block)
                if progress is not None:
                    progress(remote.name, done, total)
    return f"broke off after {done} of {total} bytes" if total and done < total else None


def _check_bounds(remote: RemoteFile, done: int, began: float) -> None:
    """Ends a download that is longer than its file, or takes longer than the limit allows."""
    if remote.size is not None and done > remote.size:
        found = f"found more than {remote.size} bytes, expected {remote.size}"
        raise InputError(f"{remote.url}: {found}; the download was removed")
    check_limit("download", done, f"{remote.url}: the download, which was removed,")
    if time.monotonic() - began > limit_of("download_seconds"):
        most = f"{limit_of('download_seconds')} seconds, the most that $BTJAX_LIMIT_DOWNLOAD_SECONDS allows"
        raise TimeoutError(f"it took more than {most}")


def _length(path: pathlib.Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _wrong(path: pathlib.Path, remote: RemoteFile) -> str | None:
    """What is wrong with a file on disk, or None."""
    size = _length(path)
    if remote.size is not None and size != remote.size:
        return f"found {size} bytes, expected {remote.size}"
    for algorithm in ("sha256", "md5"):
        expected = getattr(remote, algorithm)
        if expected is not None:
            with open_regular(path, "download") as file:
                found = hashlib.file_digest(file, algorithm).hexdigest()
            if found != expected:
                return f"found {algorithm} {found}, expected {expected}"
    if remote.check is not None:
        try:
            remote.check(path)
        except InputError as error:
            return f"its contents are wrong ({error})"
    return None
