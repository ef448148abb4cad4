"""Files of arrays that a run keeps of every row of its data set: arrays and text only, with a schema version."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from btjax.base.errors import InputError
from btjax.base.files import write_whole
from btjax.readers.slices import SIDES

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Mapping

    from btjax.data.splits import Split

Record = TypeVar("Record")


def save_arrays(path: pathlib.Path, schema: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name, and `schema`, as a compressed .npz, complete or not at all; nothing is pickled."""

    def write(beside: pathlib.Path) -> None:
        with open(beside, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, schema=np.int32(schema), **arrays)

    write_whole(path, write)


def load_arrays(
    path: pathlib.Path, schema: int, what: str, build: Callable[[Mapping[str, np.ndarray]], Record]
) -> Record:
    """Reads what `save_arrays` wrote.

    Args:
      path: the file.
      schema: the version that is expected.
      what: names the contents in errors, such as "predictions".
      build: makes the record of the arrays; its KeyError or ValueError says that the file is damaged.

    Raises:
      InputError: there is none, or it is damaged or of another version.
    """
    if not path.is_file():
        raise InputError(f"{path}: not found, expected the {what} of a finished run; --eval_only writes them")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as held:
            found = int(held["schema"])
            if found != schema:
                raise InputError(f"{path}: {what} of schema {found}, expected {schema}")
            return build(held)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: damaged, or not written by btjax: {reason}") from error


def side_names(rows: int, split: Split) -> np.ndarray:
    """The side of each row, str [rows], of `SIDES`, or "unused" of a row that is on none."""
    sides = np.full(rows, "unused", f"<U{max(map(len, SIDES))}")
    for side, members in split.sides().items():
        sides[members] = side
    return sides
