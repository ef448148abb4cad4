"""Files of arrays that a run keeps of every row of its data set: arrays and text only, with a schema version."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from btjax.base.errors import InputError, foreign
from btjax.base.files import write_whole
from btjax.base.opening import open_regular
from btjax.readers.slices import SIDES

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Mapping

    from btjax.data.splits import Split

Record = TypeVar("Record")

_SEAL = "sha256"


def save_arrays(path: pathlib.Path, schema: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name, `schema`, and their checksum, as a compressed .npz, complete or not at all.

    Nothing is pickled.
    """

    def write(beside: pathlib.Path) -> None:
        with open(beside, "wb") as file:
            whole = {name: np.asarray(array) for name, array in arrays.items()} | {"schema": np.array(schema, np.int32)}
            np.savez_compressed(file, allow_pickle=False, **whole, **{_SEAL: np.array(_digest(whole))})

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
    with (
        foreign(f"{path}: damaged, or not written by btjax"),
        open_regular(path, "kept") as file,
        np.load(file, allow_pickle=False) as file_of_arrays,
    ):
        content = dict(file_of_arrays)
        seal = content.pop(_SEAL, None)  # files of earlier versions have none
        if seal is not None and str(seal) != _digest(content):
            raise ValueError("its content is not what was written (SHA-256 differs)")
        found = int(content["schema"])
        if found != schema:
            raise InputError(f"{path}: {what} of schema {found}, expected {schema}")
        return build(content)


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def side_names(rows: int, split: Split) -> np.ndarray:
    """The side of each row, str [rows], of `SIDES`, or "unused" of a row that is on none."""
    sides = np.full(rows, "unused", f"<U{max(map(len, SIDES))}")
    for side, members in split.sides().items():
        sides[members] = side
    return sides
