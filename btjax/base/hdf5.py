"""HDF5 files that somebody else wrote: only what lies in the file itself is read, and within limits.

HDF5 can take a dataset's numbers from other files of the machine (virtual and external storage, external links), load
filters as plugins, and declare any size. `child` and `read_numbers` refuse all of these by the headers.
"""

from __future__ import annotations

import contextlib
import io
import math
import zlib
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from btjax.base.errors import InputError, foreign
from btjax.base.limits import check_limit, limit_of
from btjax.base.opening import open_regular

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Sequence

_DEFLATE, _SHUFFLE, _CHECKSUM, _LZF = 1, 2, 3, 32000
_FILTERS = (_DEFLATE, _SHUFFLE, _CHECKSUM, _LZF)
_MOST_INFLATED = {_DEFLATE: 1032, _LZF: 132}
"""How many bytes one byte can become, at most."""
_SMALL = 64 << 20
_PIECE = 1 << 16
_MOST_TEXTS = 65_536


@contextlib.contextmanager
def open_hdf5(source: pathlib.Path | bytes, where: str, expected: str = "a readable HDF5 file") -> Iterator[h5py.File]:
    """Opens an HDF5 file for reading.

    Args:
      source: a file, or its bytes.
      where: names it, for errors; whatever HDF5 raises while it is open becomes one line that begins so.
      expected: what it should be, for errors.

    Raises:
      InputError: it is missing, damaged, or of another kind.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(foreign(where, expected))
        content = (
            io.BytesIO(source)
            if isinstance(source, bytes)
            else stack.enter_context(open_regular(source, "weights_file"))
        )
        yield stack.enter_context(h5py.File(content, "r"))


@contextlib.contextmanager
def create_hdf5(path: pathlib.Path) -> Iterator[h5py.File]:
    """Makes a new HDF5 file, which is written within the context."""
    with h5py.File(path, "w") as file:
        yield file


def child(group: Any, name: str, where: str) -> Any:
    """The group or dataset of a path below a group; None where nothing is there.

    Args:
      group: a group of an open file.
      name: of the child, or several joined by slashes.
      where: the file, for errors.

    Raises:
      InputError: a link on the way leads to another name or another file, or something on the way is no group.
    """
    found: Any = group
    for part in filter(None, name.split("/")):
        if not isinstance(found, h5py.Group):
            raise InputError(f"{where}: found a dataset at {found.name}, expected a group")
        link: Any = found.get(part, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            kind = "an external link" if isinstance(link, h5py.ExternalLink) else "a soft link"
            raise InputError(f"{where}: found {kind} at {part}, expected the numbers in the file itself")
        found = found.get(part)
    return found


def read_numbers(dataset: Any, where: str, limit: str) -> np.ndarray:
    """A dataset's numbers, as h5py shows them.

    Args:
      dataset: from `child`.
      where: the file, for errors.
      limit: the name of the array's limit in `btjax.base.limits`, in bytes.

    Raises:
      InputError: it is no dataset of numbers, takes them from other files, needs a filter other than gzip, LZF, shuffle
        and checksums, or is larger, as declared or as unpacked.
    """
    if not isinstance(dataset, h5py.Dataset):
        raise InputError(f"{where}: found {type(dataset).__name__}, expected a dataset of numbers")
    place = f"{where}: {(dataset.name or '').lstrip('/')}"
    made = dataset.id.get_create_plist()
    if made.get_layout() == h5py.h5d.VIRTUAL or made.get_external_count():
        kind = "virtual" if made.get_layout() == h5py.h5d.VIRTUAL else "stored externally"
        raise InputError(f"{place} is {kind}, expected the numbers in the file itself")
    kind = dataset.dtype
    if kind.kind not in "buifc" and (kind.kind, kind.itemsize) != ("V", 2):  # bfloat16 is opaque to HDF5
        raise InputError(f"{place} is of {_told(kind)}, expected numbers")
    if dataset.shape is None:
        raise InputError(f"{place} is empty, expected numbers")
    check_limit(limit, math.prod(dataset.shape) * kind.itemsize, place)
    if made.get_layout() == h5py.h5d.CHUNKED:
        _check_chunks(dataset, made, place, limit)
    return np.asarray(dataset[()])


def texts(group: Any, name: str, where: str) -> list[str]:
    """The texts in an attribute.

    Raises:
      InputError: it holds none, or some that are no UTF-8.
    """
    found = group.attrs.get_id(name) if name in group.attrs else None
    expected = "expected a list of texts"
    if found is None or len(found.shape) != 1 or math.prod(found.shape) > _MOST_TEXTS:
        told = "no attribute" if found is None else f"an attribute of shape {found.shape}"
        raise InputError(f"{where}: found {told} {name}, {expected}")
    values = np.asarray(group.attrs[name]).tolist()
    try:
        return [value.decode() if isinstance(value, bytes) else _text(value) for value in values]
    except (UnicodeDecodeError, TypeError):
        raise InputError(f"{where}: found {name} of {_told(found.dtype)} that is no text, {expected}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    value.encode()  # h5py hides bytes that are no UTF-8 as surrogates
    return value


def _told(kind: np.dtype) -> str:
    return "texts or references" if kind.kind in "OSU" else f"the type {kind}"


def _check_chunks(dataset: Any, made: Any, place: str, limit: str) -> None:
    """Checks that the chunks are few, that each is small as declared and as unpacked, and that HDF5 unpacks them."""
    chunks = made.get_chunk()
    declared = math.prod(chunks) * dataset.dtype.itemsize
    check_limit(limit, declared, f"{place} (a chunk)")
    counted = math.prod(-(-length // chunk) for length, chunk in zip(dataset.shape, chunks, strict=True))
    check_limit("chunks", counted, place)
    filters = [made.get_filter(number)[0] for number in range(made.get_nfilters())]
    packed = [number for number in filters if number in _MOST_INFLATED]
    if any(number not in _FILTERS for number in filters) or len(packed) > 1:
        raise InputError(f"{place} is packed by the filters {filters}, expected gzip alone")
    if not packed:
        return
    most = min(max(declared, _SMALL), limit_of(limit))
    for number in range(dataset.id.get_num_chunks()):
        stored = dataset.id.get_chunk_info(number)
        # HDF5 unpacks whatever a chunk holds; only one that could become large is unpacked here first, in pieces.
        if stored.size * _MOST_INFLATED[packed[0]] > most and not _unpacks_within(dataset, stored, filters, declared):
            raise InputError(f"{place} has a chunk of more than the {declared} bytes that it declares")


def _unpacks_within(dataset: Any, stored: Any, filters: Sequence[int], declared: int) -> bool:
    """Whether a stored chunk becomes at most the bytes that it declares."""
    if _LZF in filters:
        return stored.size <= declared + 4
    limit = max(declared, 1)
    if stored.size > limit + limit // 100 + 1024:
        return False
    mask, data = dataset.id.read_direct_chunk(stored.chunk_offset)
    if mask & 1 << filters.index(_DEFLATE):
        return True  # stored as it is: the writer left the filter out
    unpacker, total = zlib.decompressobj(), 0
    rest = memoryview(data)
    while len(rest) and not unpacker.eof:
        piece, rest = rest[:_PIECE], rest[_PIECE:]
        while len(piece) and not unpacker.eof:
            total += len(unpacker.decompress(piece, _PIECE * 16))
            piece = unpacker.unconsumed_tail
            if total > limit:
                return False
    return True
