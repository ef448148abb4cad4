r"""One system under several protocols, fold by fold and seed by seed, on one machine or several.

python -m experiments.ladder --preset=linear_cpu --protocols=slice,patient,family --seeds=0,1,2 --data_dir=DATA \
    --workdir=DIR

Every cell is a run of its own in DIR/cells; ladder.json and ladder.html say what they show together. The same command
goes on where it was stopped; in a second terminal it takes cells from the same queue; with further protocols or seeds
the ladder grows. --preset names a flags file of the experiments, whose --protocol, --fold and --seed do not count.
"""

from __future__ import annotations

import sys

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.commands.ladder import run_ladder
from btjax.reports.ladder import ladder_lines
from experiments.command_line import FLAGS, config_from_flags, whole_numbers
from experiments.guard import run_over_runs

_OWN = ("--protocol", "--fold", "--seed", "--train_slices")


def run() -> None:
    """Defines the flags of the system and runs the command."""
    run_over_runs("ladder", _define, main, __doc__ or "")


def _define(system: str) -> None:
    for text in sys.argv[1:]:
        if text.partition("=")[0] in _OWN:
            raise InputError(f"{text}: a ladder runs several; expected --protocols, --folds, --seeds")
    flags.DEFINE_string("system", system, "which system is trained; a preset names it")
    flags.DEFINE_string("workdir", None, "folder of the ladder: its cells, ladder.json, ladder.html")
    flags.DEFINE_list("protocols", ["slice", "patient", "family"], "protocols, comma-separated; see --protocol")
    flags.DEFINE_list("seeds", ["0"], "seeds of the runs, and of their splits where --split_seed is -1")
    flags.DEFINE_bool("matched", True, "add slice_matched: slice, with as many training slices as the others have")
    flags.DEFINE_integer("workers", 1, "processes on this machine, each with its share of the cores", lower_bound=1)
    flags.DEFINE_integer("together", 1, "cells that one program trains side by side, on a GPU", lower_bound=1)
    flags.DEFINE_string(
        "storage",
        "",
        "URL of a database in which several machines find the queue of cells, such as postgresql://HOST/NAME; "
        "default a file in workdir",
    )
    flags.DEFINE_bool("report_only", False, "run no cells; write the report of those that are done")


def main() -> None:
    """Runs the cells and writes the report."""
    if not FLAGS.workdir:
        raise InputError("--workdir is missing: expected a folder for the ladder")
    config = config_from_flags(FLAGS.system)
    report = run_ladder(
        config,
        FLAGS.workdir,
        FLAGS.protocols,
        whole_numbers("seeds", FLAGS.seeds),
        matched=FLAGS.matched,
        workers=FLAGS.workers,
        together=FLAGS.together,
        storage=FLAGS.storage,
        report_only=FLAGS.report_only,
        observer=ProgressBar(),
        cache_dir=FLAGS.cache_dir,
    )
    for line in ladder_lines(report):
        print(line)
    print(expanded(FLAGS.workdir) / "ladder.html")


if __name__ == "__main__":
    run()
