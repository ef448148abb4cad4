"""Files of arrays and scikit-learn's objects, in skops's format: reading them runs no code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError, foreign
from btjax.base.files import write_whole

if TYPE_CHECKING:
    import pathlib


def save_objects(path: pathlib.Path, content: dict[str, Any]) -> None:
    """Writes named arrays and scikit-learn objects, complete or not at all."""
    import skops.io

    write_whole(path, lambda beside: skops.io.dump(content, beside))


def load_objects(path: pathlib.Path, expected: str) -> dict[str, Any]:
    """Reads what `save_objects` wrote; only scikit-learn's and NumPy's own types are accepted.

    Args:
      path: the file.
      expected: what it should be, for the error.

    Raises:
      InputError: there is none, or it is damaged or holds other types.
    """
    import skops.io

    if not path.is_file():
        raise InputError(f"{path}: not found, expected {expected}")
    with foreign(f"{path}: damaged, or not written by btjax"):
        content = skops.io.load(path)
        if not isinstance(content, dict):
            raise TypeError(f"found {type(content).__name__}, expected {expected}")
    return content
