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
from btjax.systems.system import find_system
from experiments.command_line import (
    FLAGS,
    asked_for_help,
    config_from_flags,
    define_cache_flag,
    define_options,
    flag_before_parsing,
    heading,
    whole_numbers,
    with_presets,
)
from experiments.console import fail_in_one_line
from experiments.guard import run_guarded

_OWN = ("--protocol", "--fold", "--seed", "--train_slices")


def run() -> None:
    """Defines the flags of the system and runs the command."""
    if asked_for_help(sys.argv[1:]) and not any("--system" in text or "--preset" in text for text in sys.argv):
        print(f"{__doc__}\nAdd --system=NAME or --preset=NAME for the flags of a system.")
        return
    fail_in_one_line("ladder", _define)
    run_guarded("ladder", main, __doc__ or "")


def _define() -> None:
    for text in sys.argv[1:]:
        if text.partition("=")[0] in _OWN:
            raise InputError(f"{text}: a ladder runs several; expected --protocols, --folds, --seeds")
    sys.argv[1:] = with_presets(sys.argv[1:])
    system = flag_before_parsing("system", "")
    if not system:
        raise InputError("--preset is missing: expected the name of a flags file, such as cnn_cpu, or --system=NAME")
    find_system(system)
    with heading("ladder"):
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
        define_cache_flag()
    define_options(system)


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
