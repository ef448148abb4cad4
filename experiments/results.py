"""Collects finished runs into a results file, and writes the tables from those files.

    python -m experiments.results --name=cnn_cpu RUN_DIR [RUN_DIR ...]
    python -m experiments.results --name=options_joint_64 --options RUN_DIR RUN_DIR [RUN_DIR ...]
    python -m experiments.results

The first writes experiments/results/cnn_cpu.json: runs of a protocol, fold and seed take the place of earlier ones of
the same, the others stay. The second sets runs beside each other that differ in their options, with their gains over
the options of the first one, which needs a run of every fold and seed, and what their maps score where
`python -m experiments.saliency --checkpoint=RUN_DIR --workdir=RUN_DIR/saliency` told it. All write the tables in
experiments/results/README.md, the result lines in README.md, and what was measured into the comments of the presets.
"""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

from btjax.base.errors import InputError
from btjax.base.files import expanded, read_json, write_json, write_whole
from experiments.console import fail_in_one_line
from experiments.summaries import by_options, collect
from experiments.tables.headlines import result_lines
from experiments.tables.overview import overview_page
from experiments.tables.page import tables
from experiments.tables.presets import measured, with_measured

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS, FLAGS = ROOT / "experiments" / "results", ROOT / "experiments" / "flags"

BEGIN, END = "<!-- results: written by python -m experiments.results -->", "<!-- end of results -->"


def all_results() -> dict[str, dict[str, Any]]:
    """Every results file by its name."""
    return {path.stem: _results(path) for path in sorted(RESULTS.glob("*.json"))}


def _results(path: pathlib.Path) -> dict[str, Any]:
    values = read_json(path, "a results file")
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {type(values).__name__}, expected a results file")
    return values


def presets(results: dict[str, dict[str, Any]]) -> dict[pathlib.Path, str]:
    """The contents of the flags files that have a results file of their name."""
    found = {FLAGS / f"{name}.flags": measured(name, result) for name, result in results.items()}
    return {
        path: with_measured(path.read_text(encoding="utf-8"), lines)
        for path, lines in found.items()
        if lines and path.exists()
    }


def write_tables() -> None:
    """Writes the tables of the results' page, the page of all systems, README's lines and the presets' comments."""
    results = all_results()
    for path, text in presets(results).items():
        write_whole(path, lambda beside, text=text: beside.write_text(text, encoding="utf-8"))
    page = overview_page(results)
    write_whole(RESULTS / "systems.html", lambda beside: beside.write_text(page, encoding="utf-8"))
    for path, text in ((RESULTS / "README.md", tables(results)), (ROOT / "README.md", result_lines(results))):
        page = path.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        after = rest.split(END)[1]
        whole = f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"
        write_whole(path, lambda beside, whole=whole: beside.write_text(whole, encoding="utf-8"))


def main() -> None:
    """Parses the arguments, collects and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", help="name of the results file, such as cnn_cpu")
    parser.add_argument("--options", action="store_true", help="set runs side by side that differ in their options")
    parser.add_argument("runs", nargs="*", type=expanded, help="folders of finished runs")
    arguments = parser.parse_args()
    if bool(arguments.name) != bool(arguments.runs):
        parser.error("--name and at least one run go together")
    if arguments.name:
        path = RESULTS / f"{arguments.name}.json"
        before = _results(path) if path.exists() else None
        if arguments.options and before is not None and "by_options" not in before:
            raise InputError(f"--options: {path} holds something else; expected another --name")
        result = by_options(arguments.runs) if arguments.options else collect(arguments.runs, before)
        RESULTS.mkdir(exist_ok=True)
        write_json(path, result, indent=1)
    write_tables()


if __name__ == "__main__":
    fail_in_one_line("results", main)
