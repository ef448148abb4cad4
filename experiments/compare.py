"""Finished runs and ladders side by side, on one page.

python -m experiments.compare RUN RUN ... --workdir=OUT

OUT takes compare.html (tables with intervals, differences on shared test slices, curves, confusion matrices, cost) and
compare.json. Of a ladder each protocol is one row.
"""

from __future__ import annotations

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.commands.compare import compare_runs
from btjax.reports.numbers import percent_with_interval
from experiments.command_line import FLAGS, define_cache_flag, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_string("workdir", None, "folder for compare.html and compare.json")
    flags.DEFINE_list("runs", [], "folders of runs and ladders, comma-separated; they may also be given without a flag")
    define_cache_flag()


def main() -> None:
    """Compares the runs and writes the page."""
    if not FLAGS.workdir:
        raise InputError("--workdir is missing: expected a folder for the page")
    report = compare_runs(FLAGS.runs, FLAGS.workdir, observer=ProgressBar())
    for entry in report.entries:
        accuracy = percent_with_interval(entry.scores.accuracy, entry.scores.accuracy_ci95)
        print(f"{entry.name}: {accuracy} of {entry.tested} slices, protocol {entry.protocol}")
    print(expanded(FLAGS.workdir) / "compare.html")


if __name__ == "__main__":
    run_guarded("compare", main, __doc__ or "", positional="runs")
