r"""A search for hyper-parameters on the validation slices of one split.

python -m experiments.search --preset=cnn_irmak_cpu --space=irmak --trials=30 --data_dir=DATA --workdir=DIR

A space is a text file with one dimension a line: a range such as --dropout=0.1..0.5 (with log at its end by ratios), or
choices such as --batch_size=16|32. The same command goes on where it was stopped. DIR/search.html shows every trial;
DIR/best.flags trains the best like any other flags file. With --storage several machines share one search.
"""

from __future__ import annotations

import pathlib
from importlib import resources

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.commands.search import SearchPlan, run_search
from btjax.reports.search import search_lines
from btjax.studies.search import PRUNERS, SAMPLERS
from experiments.command_line import FLAGS, config_from_flags
from experiments.guard import run_over_runs


def run() -> None:
    """Defines the flags of the system and runs the command."""
    run_over_runs("search", _define, main, __doc__ or "")


def _define(system: str) -> None:
    flags.DEFINE_string("system", system, "which system is trained; a preset names it")
    flags.DEFINE_string("workdir", None, "folder of the search: trials, search.json, search.html, best.flags")
    flags.DEFINE_string("space", None, "what varies: a text file, or one of the experiments' by name, such as irmak")
    flags.DEFINE_integer("trials", 30, "points to try, those of former sittings included", lower_bound=1)
    flags.DEFINE_enum("sampler", "tpe", list(SAMPLERS), "how points are proposed")
    flags.DEFINE_enum("pruner", "asha", list(PRUNERS), "how trials that lag behind are stopped early")
    flags.DEFINE_integer("seed", 0, "seed of the points and of every run", lower_bound=0, upper_bound=2**32 - 1)
    flags.DEFINE_string(
        "storage",
        "",
        "URL of a database that several machines share, each with its own workdir; default a file",
    )


def _space() -> pathlib.Path:
    if not FLAGS.space:
        raise InputError(
            "--space is missing: expected a text file with one dimension a line, such as --dropout=0.1..0.5"
        )
    own = pathlib.Path(str(resources.files("experiments").joinpath("flags", f"{FLAGS.space}.space")))
    return own if own.is_file() else expanded(FLAGS.space)


def main() -> None:
    """Runs the trials and writes the report."""
    if not FLAGS.workdir:
        raise InputError("--workdir is missing: expected a folder for the search")
    plan = SearchPlan(
        config_from_flags(FLAGS.system), _space(), FLAGS.trials, FLAGS.sampler, FLAGS.pruner, FLAGS.storage
    )
    report = run_search(plan, FLAGS.workdir, observer=ProgressBar(), cache_dir=FLAGS.cache_dir)
    for line in search_lines(report):
        print(line)
    print(expanded(FLAGS.workdir) / "search.html")


if __name__ == "__main__":
    run()
