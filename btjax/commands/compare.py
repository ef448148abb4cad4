"""Finished runs and ladders on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from btjax.base.errors import InputError
from btjax.base.files import expanded, write_json, write_whole
from btjax.base.folders import claimed
from btjax.base.progress import Observer, told
from btjax.commands.ladder import CELLS, PLAN, Work
from btjax.reports.compare import compare_page
from btjax.runs.run import Run
from btjax.studies.compare import CompareReport, Entry, Tested, compare_entries, entry_of
from btjax.studies.ladder import load_plan

if TYPE_CHECKING:
    import os
    import pathlib
    from collections.abc import Sequence


def compare_runs(
    folders: Sequence[str | os.PathLike], folder: str | os.PathLike, *, observer: Observer | None = None
) -> CompareReport:
    """Compares finished classifiers' runs and ladders, and writes compare.json and compare.html.

    Args:
      folders: of runs, and of ladders, of which each protocol is one row.
      folder: takes the two files; a new one, or that of the same comparison, which is made again.
      observer: is told of the work.

    Returns:
      The report.

    Raises:
      InputError: fewer than two rows, a folder given twice, or one that is no finished classifier's run.

    Example:
      >>> import btjax, tempfile
      >>> config = btjax.preset("linear_cpu").replace("training.epochs", 1).replace("data.phantom_patients", 8)
      >>> config = config.replace("data.image_size", 32).replace("data.data_dir", "phantom")
      >>> folder = tempfile.mkdtemp()
      >>> runs = [btjax.train(config.replace("seed", seed), f"{folder}/{seed}").folder for seed in (0, 1)]
      >>> report = compare_runs(runs, folder + "/compared")
      >>> [entry.title for entry in report.entries], len(report.pairs)
      (['Linear model', 'Linear model'], 1)
    """
    out, places = expanded(folder), [expanded(one) for one in folders]
    twice = [place for number, place in enumerate(places) if place.resolve() in {p.resolve() for p in places[:number]}]
    if twice:
        raise InputError(f"{twice[0]}: named twice, expected different runs")
    about = {"runs": [str(place.resolve()) for place in places]}
    with told(observer) as watching, claimed(out, "compare", about, observer=watching):
        rows: list[tuple[Entry, Tested]] = []
        for number, place in enumerate(places):
            rows += _rows_of(place)
            watching.on_data("runs", number + 1, len(places))
        if len(rows) < 2:
            raise InputError(f"{len(rows)} run to compare, expected at least two, or a ladder of several protocols")
        report = compare_entries(rows)
        page = compare_page(report, [tested for _, tested in rows])
        write_whole(out / "compare.html", lambda beside: beside.write_text(page, encoding="utf-8"))
        write_json(out / "compare.json", msgspec.to_builtins(report))
    return report


def _rows_of(place: pathlib.Path) -> list[tuple[Entry, Tested]]:
    """The rows of a run, or of a ladder: one for each protocol with finished cells."""
    if not (place / PLAN).exists():
        run = Run(place)
        return [entry_of(place.name, [run], run.config.data.protocol)]
    plan, work, rows = load_plan(place / PLAN), Work(place, ""), []
    for rung in dict.fromkeys(cell.rung for cell in plan.cells):
        runs = [Run(place / CELLS / cell.name) for cell in plan.cells if cell.rung == rung and work.done(cell.name)]
        if runs:
            rows.append(entry_of(f"{place.name}/{rung}", runs, rung))
    if not rows:
        raise InputError(f"{place}: a ladder without a finished cell, expected at least one")
    return rows
