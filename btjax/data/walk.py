"""Walking through a data folder: every file and every folder but hidden ones and what macOS adds to zips."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

from btjax.base.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


def list_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Every file below a folder, sorted; links to folders are followed once, hidden names are left out."""
    return sorted(parent / name for parent, names in _walk(folder) for name in names)


def list_folders(folder: pathlib.Path) -> list[pathlib.Path]:
    """Every folder below a folder, sorted, by the same rules as `list_files`."""
    return sorted(parent for parent, _ in _walk(folder) if parent != folder)


def _walk(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, list[str]]]:
    seen = set()
    for parent, directories, names in os.walk(folder, followlinks=True, onerror=_refuse):
        real = os.path.realpath(parent)
        if real in seen:
            directories.clear()
            continue
        seen.add(real)
        directories[:] = sorted(name for name in directories if not _hidden(name))
        yield pathlib.Path(parent), [name for name in names if not _hidden(name)]


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror}), expected a readable folder") from error


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
