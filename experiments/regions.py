"""Cheng's table of 2015 made anew: textures, radii, rings and classifiers, with the tumours' outlines.

python -m experiments.regions --flagfile=experiments/flags/cheng2015.flags --data_dir=DATA --workdir=DIR

DIR takes regions.json and regions.html: every cell of the table beside the published one, on the folds of --protocol.
The flags file trains on validation slices too, as the paper does: a support vector machine chooses C within its
training rows. Stopped, the same command goes on.
"""

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.commands.regions import run_regions
from btjax.studies.regions import STAGES, told_cell
from experiments.command_line import FLAGS, config_from_flags, define_cache_flag, define_options, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_string("system", "cheng2015", "the system of the table")
    flags.DEFINE_string("workdir", None, "folder of the table: its cells, regions.json, regions.html")
    flags.DEFINE_list(
        "stages", list(STAGES), "parts of the table, or names of cells such as rings_bow_level1, comma-separated"
    )
    flags.DEFINE_integer("seed", 0, "of the vocabularies and of the folds within the training rows", lower_bound=0)
    define_cache_flag()
define_options("cheng2015")


def main() -> None:
    """Measures the cells and writes the table."""
    if not FLAGS.workdir:
        raise InputError("--workdir is missing: expected a folder for the table")
    config = config_from_flags("cheng2015")
    report = run_regions(config, FLAGS.workdir, stages=FLAGS.stages, observer=ProgressBar(), cache_dir=FLAGS.cache_dir)
    shown = told_cell(report.cells)
    print(f"{len(report.cells)} cells; {shown.cell.name}: {100 * shown.mean:.2f}, published {shown.cell.published:.2f}")
    print(expanded(FLAGS.workdir) / "regions.html")


if __name__ == "__main__":
    run_guarded("regions", main, __doc__ or "")
