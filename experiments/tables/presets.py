"""What each preset gave, as comments of its flags file."""

from __future__ import annotations

import re
from typing import Any

from btjax.reports.numbers import duration
from btjax.systems.presets import preset, preset_names
from experiments.tables.cells import NONE, estimate, number_cell, option_flag, with_interval
from experiments.tables.classifiers import run_name

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


def preset_of(name: str) -> str:
    """The preset of a ladder's results file: `ladder_NAME`, or `ladder_NAME_refit` without validation slices."""
    return name.removeprefix("ladder_").removesuffix("_refit")


def other_options(name: str, config: dict[str, Any]) -> str:
    """The flags by which the runs of a results file differ from its preset, such as `--epochs=8`; empty for none.

    Which rows are held out, and with which seed, is no difference.
    """
    if name not in preset_names():
        return ""
    expected, flags = preset(name).to_json(), []
    for group, values in config.items():
        if not isinstance(values, dict) or not isinstance(expected.get(group), dict):
            continue
        for option, value in values.items():
            held_out = group == "data" and option in ("protocol", "fold", "split_seed", "train_slices", "data_dir")
            if option in expected[group] and value != expected[group][option] and not held_out:
                flags.append(option_flag(option, value))
    return " ".join(flags)


def _accuracy(run: dict[str, Any]) -> str:
    took = duration(run["training"]["seconds"])
    dice = f", Dice {estimate(run['outlines']['dice'])}" if run.get("outlines") else ""
    accuracy = with_interval(run["test"], "accuracy")
    return f"test accuracy {accuracy}{dice} of {run['test']['slices']} slices, trained in {took}"


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
