"""Class names: how people spell them in folders and manifests, and the one spelling that btjax uses."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CLASSES = ("meningioma", "glioma", "pituitary")
"""The paper's classes in the order of the labels 0, 1, 2; the data set's own files say 1, 2, 3."""

NO_TUMOR = "no_tumor"
"""The class of slices without a tumour."""

NUMBERS = {"1": "meningioma", "2": "glioma", "3": "pituitary"}
"""What figshare's labels stand for."""

ACCEPTED_CLASSES = (
    "meningioma, glioma, pituitary (also as in glioma_tumor, any case), no_tumor (also notumor, no, normal, healthy), "
    "names of your own, or figshare's 1, 2, 3"
)
"""The accepted names, in words."""

_TUMOUR = re.compile(rf"({'|'.join(CLASSES)})_?tumou?rs?|({'|'.join(CLASSES)})")
_NO_TUMOUR = re.compile(r"no_?tumou?rs?")
_HEALTHY = ("no", "normal", "healthy", "none")
_TUMOUR_WITHIN = re.compile(rf"{'|'.join(CLASSES)}|{_NO_TUMOUR.pattern}")


def known_class(text: str) -> str | None:
    """The known class that a name means, at any depth of a path: one of `CLASSES`, `NO_TUMOR`, or None for others.

    Example:
      >>> [known_class(text) for text in ("Glioma Tumour", "PituitaryTumor", "notumor", "normal", "astrocytoma")]
      ['glioma', 'pituitary', 'no_tumor', None, None]
    """
    name = _spelling(text)
    if match := _TUMOUR.fullmatch(name):
        return match[1] or match[2]
    return NO_TUMOR if _NO_TUMOUR.fullmatch(name) else None


def class_name(text: str, where: str = "") -> str:
    """The spelling that btjax uses for the name of a class.

    Args:
      text: the name of a folder, or a cell of a manifest.
      where: the folder, or the manifest's row, for the error message.

    Returns:
      One of `CLASSES` or `NO_TUMOR` for the spellings of these that are known, figshare's 1, 2, 3 among them; any
      other name in lower case, with one underscore for blanks and hyphens.

    Raises:
      InputError: the name is empty, or a number other than 1, 2 and 3.

    Example:
      >>> [class_name(text) for text in ("glioma_tumor", "2", "healthy", "Astrocytoma T1")]
      ['glioma', 'glioma', 'no_tumor', 'astrocytoma_t1']
    """
    name = _spelling(text)
    number = is_number(text) or is_number(unicodedata.normalize("NFKC", name)) or name.isnumeric()
    if not name or (number and text.strip() not in NUMBERS):
        raise InputError(f"{where or 'class'}: {text!r} names no class, expected {ACCEPTED_CLASSES}")
    if number:
        return NUMBERS[text.strip()]
    return NO_TUMOR if is_healthy(text) else known_class(text) or name


def is_healthy(text: str) -> bool:
    """Whether a name is a word that means `NO_TUMOR` where classes are named, and may mean another thing elsewhere."""
    return _spelling(text) in _HEALTHY


def classes_within(text: str) -> set[str]:
    """The known classes that occur in a longer name: {"glioma", "meningioma"} in glioma_meningioma."""
    return {known_class(word) or word for word in _TUMOUR_WITHIN.findall(_spelling(text))}


def order_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in the order of their labels: those of `CLASSES` in the paper's order, then the others by alphabet.

    Example:
      >>> order_classes({"no_tumor", "glioma", "astrocytoma", "meningioma"})
      ('meningioma', 'glioma', 'astrocytoma', 'no_tumor')
    """
    found = set(names)
    return tuple(name for name in CLASSES if name in found) + tuple(sorted(found.difference(CLASSES)))


def is_number(text: str) -> bool:
    """Whether a text is a number, also one like 2.0, as spreadsheets write whole numbers."""
    return re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?", text.strip(), re.IGNORECASE) is not None


def label_of(number: Any, where: str) -> int:
    """Figshare's label 1, 2, 3 (a number or its text) as an index into `CLASSES`.

    Raises:
      InputError: another value.
    """
    try:
        # Python takes the digits of every script for numbers; a table that mixes them says one label in two ways.
        value = float("nan") if isinstance(number, str) and not is_number(number) else float(number)
    except (TypeError, ValueError):
        value = float("nan")
    if value not in (1.0, 2.0, 3.0):
        expected = ", ".join(f"{index} ({name})" for index, name in enumerate(CLASSES, start=1))
        raise InputError(f"{where}: found label {number!s}, expected {expected}")
    return int(value) - 1


def labels_of(texts: Sequence[str], wheres: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """The labels of a manifest's cells: all figshare's numbers, or all names.

    Args:
      texts: the cells.
      wheres: the row of each cell, for error messages.

    Returns:
      The label of each cell, and the classes: `CLASSES` for numbers, else the classes that are named.

    Raises:
      InputError: a number other than 1, 2, 3, an empty cell, or numbers beside names.
    """
    if any(is_number(text) for text in texts):
        return [label_of(text, where) for text, where in zip(texts, wheres, strict=True)], CLASSES
    names = []
    for text, where in zip(texts, wheres, strict=True):
        names.append(class_name(text, where))
    classes = order_classes(names)
    return [classes.index(name) for name in names], classes


def _spelling(text: str) -> str:
    """Lower case, composed letters of usual width, and one underscore for each run of blanks, hyphens, underscores."""
    composed = unicodedata.normalize("NFC", text)
    usual = unicodedata.normalize("NFKC", text)
    text = usual if composed.isalpha() and usual.isascii() else composed
    return re.sub(r"[\s_-]+", "_", text.lower()).strip("_")
