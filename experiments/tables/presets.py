"""What each preset gave, as comments of its flags file."""

from __future__ import annotations

import re
from typing import Any

from btjax.reports.numbers import duration
from experiments.tables.cells import NONE, number_cell, with_interval
from experiments.tables.classifiers import run_name
from experiments.tables.segmenter import estimate

MARK = "#|"
"""Begins the lines that are written here."""


def measured(name: str, result: dict[str, Any]) -> list[str]:
    """The lines of a preset whose results file holds classifiers' runs, segmenters or a U-Net; none for others."""
    if isinstance(result.get("runs"), list):  # an audit counts them
        lines = [f"{run_name(run)}, seed {run['config']['seed']}: {_accuracy(run)}" for run in result["runs"]]
    elif "by_epoch" in result:
        error = number_cell(result["reconstruction"], "mae", 4)
        where = f"{result['protocol']}, seed {result['config']['seed']}"
        lines = [f"{where}: test MAE {error}; the encoder's classifier {_accuracy(result['classifier'])}"]
    elif "outlined" in result:
        lines = [
            f"{run_name(run)}, seed {run['config']['seed']}: test Dice {estimate(run['test']['dice'])} of "
            f"{run['test']['slices']} slices, trained in {duration(run['training']['seconds'])}"
            for run in result["outlined"]
        ]
    else:
        return []
    source = f"experiments/results/{name}.json, written by python -m experiments.results; 95% intervals or {NONE}"
    return [f"{MARK} Measured ({source}):", *(f"{MARK}   {line}" for line in lines)]


def _accuracy(run: dict[str, Any]) -> str:
    took = duration(run["training"]["seconds"])
    return (
        f"test accuracy {with_interval(run['test'], 'accuracy')} of {run['test']['slices']} slices, trained in {took}"
    )


def with_measured(text: str, lines: list[str]) -> str:
    r"""A flags file with these lines at the end of the comments that it opens with, in the place of earlier ones.

    Example:
      >>> with_measured("# A preset\n#| old\n--epochs=3\n", ["#| new"])
      '# A preset\n#| new\n--epochs=3\n'
    """
    kept = re.sub(rf"^{re.escape(MARK)}.*\n", "", text, flags=re.MULTILINE)
    opening = re.match(r"(#.*\n)*", kept)
    end = opening.end() if opening else 0
    return kept[:end] + "".join(f"{line}\n" for line in lines) + kept[end:]
