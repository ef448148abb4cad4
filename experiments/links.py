"""Slices that belong together, found from pixels: copies, near-duplicates, neighbours of one patient.

python -m experiments.links --data_dir=DATA --workdir=OUT [--against=OTHER_DATA]

OUT takes links.csv (each slice's group), pairs.csv (linked pairs), links.json (counts) and report.html (pictures); with
--against also against.csv, the slices of DATA that belong to slices of OTHER_DATA.
"""

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.commands.links import find_links
from btjax.data.dataset import DataConfig
from btjax.studies.links import LinksReport
from experiments.command_line import FLAGS, define_cache_flag, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_string("data_dir", "", "folder of slices in any form that btjax reads, or `phantom`")
    flags.DEFINE_string("workdir", None, "folder for links.csv, pairs.csv, links.json and report.html")
    flags.DEFINE_string("against", "", "folder of another data set, whose slices are sought among those of data_dir")
    flags.DEFINE_integer("image_size", 128, "side in pixels at which slices are read", lower_bound=32, upper_bound=4096)
    define_cache_flag()


def main() -> None:
    """Finds the links and writes them."""
    if not FLAGS.workdir:
        raise InputError("--workdir is missing: expected a folder for the results")
    data = DataConfig(data_dir=FLAGS.data_dir, image_size=FLAGS.image_size)
    observer = ProgressBar()
    report = find_links(data, FLAGS.workdir, against=FLAGS.against, observer=observer, cache_dir=FLAGS.cache_dir)
    print_result(report)
    print(expanded(FLAGS.workdir) / "report.html")


def print_result(report: LinksReport) -> None:
    """Pairs of each kind, groups, and links to the other data set."""
    for row in report.kinds:
        print(f"{row.kind:10s} {row.pairs} pairs")
    print(f"{report.groups} groups of {report.slices} slices, the largest of {report.largest}")
    for row in report.against or []:
        print(f"{row.name:12s} {row.duplicated} of {row.slices} slices are slices of the other data set")


if __name__ == "__main__":
    run_guarded("links", main, __doc__ or "")
