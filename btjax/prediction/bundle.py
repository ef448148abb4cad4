"""What a release consists of: a run's folder without what is private or large, and checksums of every file."""

from __future__ import annotations

import csv
import hashlib
import io
import pathlib
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.files import make_folder, read_json, write_json, write_whole
from btjax.prediction.answers import calibration_of
from btjax.prediction.files import harmless
from btjax.runs.run import HEAD, OUTLINES, PREDICTIONS, REPORT

if TYPE_CHECKING:
    from btjax.runs.predictions import Predictions
    from btjax.runs.run import Run

SUMS, TABLE, CHECKPOINT = "SHA256SUMS", "predictions_test.csv", "checkpoints/best"

_KEPT = (HEAD, PREDICTIONS, OUTLINES, "metrics.jsonl")

_PLACES = (("data", "data_dir"), ("extra", "weights"))
"""Options that name a place on the machine that trained the run."""


def copy_run(run: Run, folder: pathlib.Path) -> None:
    """Copies what `btjax.restore` takes: the best checkpoint, config, report, predictions; no figures of slices.

    Of the paths of the machine that trained the run only the last name is kept.

    Args:
      run: a finished one.
      folder: takes the files.
    """
    newest = max((path for path in (run.folder / CHECKPOINT).iterdir() if path.name.isdigit()), key=_number)
    shutil.copytree(newest, folder / CHECKPOINT / newest.name)
    for mark in (folder / CHECKPOINT).rglob("commit_success.txt"):
        mark.write_text("complete\n")  # Orbax says there where the run stood
    for name in _KEPT:
        if (run.folder / name).exists():
            shutil.copyfile(run.folder / name, folder / name)
    config, report = read_json(run.folder / "config.json"), read_json(run.folder / REPORT)
    report["data"]["dir"] = _last(report["data"]["dir"])
    report["config"] = _without_places(report["config"])
    write_json(folder / "config.json", _without_places(config))
    write_json(folder / REPORT, report)


def _number(path: pathlib.Path) -> int:
    return int(path.name)


def _last(path: str) -> str:
    return pathlib.PurePath(path).name


def _without_places(config: dict[str, Any]) -> dict[str, Any]:
    """A config's JSON values with the last names of its paths alone."""
    changed = dict(config)
    for group, name in _PLACES:
        values = changed.get(group)
        if isinstance(values, dict) and isinstance(values.get(name), str):
            changed[group] = values | {name: _last(values[name])}
    return changed


def write_test_table(run: Run, folder: pathlib.Path) -> None:
    """Writes the test rows as a table: slice, true class, predicted class, calibrated probabilities."""
    predictions, (temperature, _) = run.predictions.side("test"), calibration_of(run)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(harmless, ["slice", "true", "predicted", *predictions.classes]))
    for row in _test_rows(predictions, temperature):
        writer.writerow(map(harmless, row))
    encoded = text.getvalue().encode("utf-8", "backslashreplace")
    write_whole(folder / TABLE, lambda path: path.write_bytes(encoded))


def _test_rows(predictions: Predictions, temperature: float) -> list[list[str]]:
    from scipy.special import softmax

    chances = softmax(np.asarray(predictions.logits, np.float64) / temperature, axis=1)
    rows = []
    for name, label, row in zip(predictions.ids, predictions.labels, chances, strict=True):
        true, guess = predictions.classes[label], predictions.classes[int(row.argmax())]
        rows.append([str(name), true, guess, *(f"{value:.6f}" for value in row)])
    return rows


def write_sums(folder: pathlib.Path) -> None:
    """Writes SHA256SUMS of every file below a folder, hidden ones apart, as `sha256sum -c` reads it."""
    lines = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != SUMS and not any(part.startswith(".") for part in name.split("/")):
            lines.append(f"{sha256(path)}  {name}\n")
    write_whole(folder / SUMS, lambda beside: beside.write_text("".join(lines), encoding="utf-8"))


def sha256(path: pathlib.Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def move_in(made: pathlib.Path, folder: pathlib.Path) -> None:
    """Moves everything in one folder into another of the same disk, in the place of what has its name there.

    The checksums go first and come last: a folder without them is not complete.
    """
    make_folder(folder)
    (folder / SUMS).unlink(missing_ok=True)
    names = sorted((path.name for path in made.iterdir()), key=lambda name: (name == SUMS, name))
    for name in names:
        place = folder / name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        (made / name).replace(place)
    made.rmdir()
