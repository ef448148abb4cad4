"""The files of a prediction: a journal that an interrupted one goes on from, then predictions.csv and predictions.json.

All are written line by line, so that a hundred thousand slices take no more memory than a hundred.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError, foreign
from btjax.base.files import check_writable, make_folder, strangers, write_whole
from btjax.base.sealed import sealed, unsealed
from btjax.prediction.answers import Answer

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Sequence

SCHEMA = 1
"""The version of predictions.json."""

JOURNAL, CSV, JSON = "answers.jsonl", "predictions.csv", "predictions.json"

_HARMFUL = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula where a cell begins with it."""


def harmless(cell: Any) -> Any:
    """A cell that no spreadsheet runs as a formula: text that begins like one gets an apostrophe before it.

    Example:
      >>> print(harmless('=HYPERLINK("http://x")'), harmless("scan.png"), harmless(0.5))
      '=HYPERLINK("http://x") scan.png 0.5
    """
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip(" ").startswith(_HARMFUL) else cell


class Journal:
    """The answers so far, a line of JSON for each, behind a line with the settings that they were made under."""

    def __init__(self, folder: pathlib.Path, settings: dict[str, Any]) -> None:
        """Names the file; nothing is read or written yet."""
        self.folder, self.path, self.settings = folder, folder / JOURNAL, settings

    def begin(self, resume: bool) -> set[tuple[str, str]]:
        """Makes the folder and the file, or reads which slices are answered already; what a kill cut off is dropped.

        Raises:
          InputError: the folder holds answers and `resume` is not given, answers of other settings, or other files.
        """
        flag = f"--workdir={self.folder}"
        check_writable(self.folder, "--workdir=")
        if not self.path.exists():
            if others := strangers(self.folder):
                raise InputError(f"{flag}: not empty (found {others[0].name}), expected a new folder")
            make_folder(self.folder, "--workdir=")
            write_whole(self.path, lambda beside: beside.write_text(_line(self.settings), encoding="utf-8"))
            return set()
        if not resume:
            raise InputError(f"{flag}: holds predictions already; add --resume, or name another folder")
        with foreign(f"{self.path}: damaged", "lines of JSON as they were written"):
            whole, held, answered = 0, {}, set()
            with open(self.path, "rb") as file:
                for number, line in enumerate(file):
                    if not line.endswith(b"\n"):
                        break
                    content = unsealed(json.loads(line), f"{self.path}, line {number + 1}")
                    if number:
                        answer = _answer(content)
                        answered.add((answer.file, answer.slice))
                    else:
                        held = content
                    whole += len(line)
            if held != json.loads(json.dumps(self.settings)):
                names = [name for name in self.settings if held.get(name) != self.settings[name]]
                raise InputError(f"{flag}: made with other {', '.join(names)}; expected the same, or another folder")
            with open(self.path, "r+b") as file:
                file.truncate(whole)
        return answered

    def read(self) -> Iterator[Answer]:
        """The answers in the order in which they were made.

        Raises:
          InputError: a line was changed.
        """
        with open(self.path, encoding="utf-8") as file:
            next(file)
            for number, line in enumerate(file, start=2):
                with foreign(f"{self.path}, line {number}: damaged", "an answer as it was written"):
                    answer = _answer(unsealed(json.loads(line), self.path))
                yield answer

    def write(self, answers: Iterator[Answer]) -> Iterator[Answer]:
        """Passes answers on and keeps each; what fails in making them is not said of the file."""
        what = f"{self.path}: cannot be written"
        with contextlib.ExitStack() as stack:
            with foreign(what):
                file = stack.enter_context(open(self.path, "a", encoding="utf-8", buffering=1))
            for answer in answers:
                with foreign(what):
                    file.write(_line(dataclasses.asdict(answer)))
                yield answer


def _line(values: dict[str, Any]) -> str:
    """A line of the journal, with the checksum of its content."""
    return json.dumps(sealed(values), allow_nan=False) + "\n"


def _answer(values: dict[str, Any]) -> Answer:
    fitting, remarks = values.pop("fitting"), values.pop("remarks")
    return Answer(**values, fitting=None if fitting is None else tuple(fitting), remarks=tuple(remarks))


def write_csv(journal: Journal, classes: Sequence[str]) -> None:
    """Writes predictions.csv: a row for each slice."""
    head = ["file", "slice", "answered", "class", *(f"p_{name}" for name in classes), "set", "typicality", "reason"]

    def row(answer: Answer) -> list[Any]:
        chances = answer.probabilities or {}
        return [
            answer.file,
            answer.slice,
            "yes" if answer.answered else "no",
            answer.predicted,
            *(f"{chances[name]:.6f}" if chances else "" for name in classes),
            "" if answer.fitting is None else " | ".join(answer.fitting),
            "" if answer.typicality is None else f"{answer.typicality:.6f}",
            answer.reason,
            answer.label,
            "; ".join(answer.remarks),
        ]

    def write(path: pathlib.Path) -> None:
        with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file)
            writer.writerow([*map(harmless, head), "label", "remarks"])
            for answer in journal.read():
                writer.writerow(map(harmless, row(answer)))

    write_whole(journal.folder / CSV, write)


def write_json_rows(journal: Journal, about: dict[str, Any]) -> None:
    """Writes predictions.json: what `about` says, then "slices", an object for each, with `Answer`'s names."""

    def write(path: pathlib.Path) -> None:
        with open(path, "w", encoding="utf-8") as file:
            head = json.dumps({"schema": SCHEMA} | about, indent=1, allow_nan=False)
            file.write(head.removesuffix("\n}") + ',\n "slices": [')
            for number, answer in enumerate(journal.read()):
                file.write(("," if number else "") + "\n  " + json.dumps(dataclasses.asdict(answer), allow_nan=False))
            file.write("\n ]\n}\n")

    write_whole(journal.folder / JSON, write)
