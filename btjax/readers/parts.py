"""What readers of files that hold several slices hand on: a part for each slice, and notes on the files."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import threading
from collections.abc import Callable, Hashable
from typing import TypeVar

from btjax.readers.raw import RawSlice

Key = TypeVar("Key", bound=Hashable)
Kept = TypeVar("Kept")


@dataclasses.dataclass(frozen=True)
class Part:
    """One slice of a file.

    Attributes:
      name: the slice's id.
      paths: the file that is read for it, then others that hold the same slice, or its mask.
      patient: the patient's pseudonym; None where nothing tells the patient.
      known: the fields of `RawSlice` that `read` fills.
      read: reads it, without a label.
    """

    name: str
    paths: tuple[pathlib.Path, ...]
    patient: str | None
    known: frozenset[str]
    read: Callable[[], RawSlice]


@dataclasses.dataclass(frozen=True)
class Found:
    """The slices of files of one form.

    Attributes:
      form: what the files are, in words.
      parts: the slices.
      notes: what is to be said of files that are not read, or not as they are.
      options: how they are read, in words that follow their number; part of the source's fingerprint.
      names: ids and names of patients, which no path may show.
    """

    form: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...]
    options: str
    names: frozenset[str] = frozenset()


def recent(load: Callable[[Key], Kept], size: int) -> Callable[[Key], Kept]:
    """`load` that keeps what it returned for the last `size` keys; threads that need one key load it once.

    Args:
      load: takes a key, such as a path.
      size: how many values are kept.
    """
    cached, lock = functools.lru_cache(size)(load), threading.Lock()

    def get(key: Key) -> Kept:
        with lock:
            return cached(key)

    return get
