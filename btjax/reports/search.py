"""search.html and search.json: what a search for hyper-parameters tried, and what was best."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from btjax.base.files import write_json, write_whole
from btjax.figures.search import search_history, search_importance
from btjax.reports.numbers import amount, number, percent
from btjax.reports.page import Headline, Note, Picture, Section, Table, flattened, render

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from btjax.studies.search import SearchReport, TrialRow


SEARCH = "search.json"
"""The file of a search's report."""


def write_search_report(folder: pathlib.Path, report: SearchReport) -> None:
    """Writes search.html and search.json into the search's folder."""
    page = search_page(report)
    write_whole(folder / "search.html", lambda beside: beside.write_text(page, encoding="utf-8"))
    write_json(folder / SEARCH, msgspec.to_builtins(report))


def search_page(report: SearchReport) -> str:
    """Renders the page, which needs no other file and no network."""
    best = next(row for row in report.trials if row.number == report.best)
    shown = [(row.number, row.value, row.state) for row in report.trials if row.value is not None]
    pictures = [Picture(search_history(shown, _label(report)), "What every trial reached on the validation slices.")]
    if report.importance:
        caption = "How much of the differences between trials each dimension accounts for (functional ANOVA)."
        pictures.append(Picture(search_importance(report.importance), caption))
    data, counts = report.config["data"], report.counts
    headline = Headline(
        _told(report, best.value),
        f"{report.metric.replace('_', ' ')} of the best trial",
        [f"trial {best.number} of {len(report.trials)}"],
        [
            f"Protocol {data['protocol']}, fold {data['fold']}: trained on {amount(counts['train'])} slices, chosen on "
            f"{amount(counts['validation'])}.",
            "The score of the best of many trials is biased: it tells which options to take, not what they reach.",
            "The test slices were not looked at.",
        ],
    )
    sections = [
        Section("Trials", [_table(report)], pictures),
        Section("The best options", pairs=[(line, "") for line in report.best_flags]),
        Section("Options that the points change", pairs=flattened(report.config)),
    ]
    notes = [Note("A program drew these slices: the numbers say nothing about patients.")] if report.synthetic else []
    lead = [f"Data: {report.data}. Points proposed by: {report.sampler}; trials stopped early by: {report.pruner}."]
    return render(f"Search: {report.title}", sections, headline=headline, lead=lead, notes=notes)


def search_lines(report: SearchReport) -> list[str]:
    """What the console tells of a search."""
    best = next(row for row in report.trials if row.number == report.best)
    states = [row.state for row in report.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed"))
    return [
        f"trials: {counts}",
        f"best: trial {best.number}, {report.metric} {_told(report, best.value)}: {_flags(best)}",
    ]


def point_in_words(flags: Sequence[str]) -> str:
    """A point for people's eyes: its flags without their dashes, numbers in four digits.

    Example:
      >>> point_in_words(["--widths=16,32", "--dropout=0.3587753671615763"])
      'widths=16,32 dropout=0.3588'
    """
    return " ".join(re.sub(r"=(-?\d+\.\d\S*)$", _in_four_digits, flag.removeprefix("--")) for flag in flags)


def _in_four_digits(found: re.Match[str]) -> str:
    return f"={float(found[1]):.4g}"


def _label(report: SearchReport) -> str:
    return report.metric.replace("_", " ") + (" times -1" if report.metric.endswith("loss") else "")


def _told(report: SearchReport, value: float | None) -> str:
    if value is None:
        return ""
    return number(-value) if report.metric.endswith("loss") else percent(value)


def _flags(row: TrialRow) -> str:
    return " ".join(row.flags)


def _table(report: SearchReport) -> Table:
    order = sorted(report.trials, key=lambda row: (row.state != "complete", -(row.value or 0.0)))
    rows = [
        [row.number, point_in_words(row.flags), row.state, _told(report, row.value), row.epochs, row.reason]
        for row in order
    ]
    head = ["Trial", "Point", "State", report.metric.replace("_", " ").capitalize(), "Epochs", "Why it failed"]
    strong = [index for index, row in enumerate(order) if row.number == report.best]
    return Table("Best first; a trial that was stopped early shows its best epoch.", head, rows, strong=strong)
