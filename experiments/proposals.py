"""Saliency maps as region proposals: how often a tumour lies in one of the first boxes that a map proposes.

python -m experiments.proposals --checkpoint=RUN --data_dir=DATA --workdir=OUT [--methods=gradient,grad_cam]

RUN is the folder of a finished classifier's run, such as the classifier in a unet run, whose final output is then a
method as well under --methods=all. OUT takes the maps, proposals.json and proposals.html; a command that was stopped
goes on with the maps that are there. Boxes of the same number at random and about the centre stand beside them.

With --labels OUT/labels takes outlines that no person drew, by each source's first box: a segmenter learns from them by
--taught_by=OUT/labels/METHOD.npz, and is tested on true masks.
"""

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.commands.proposals import proposals
from btjax.reports.numbers import percent_with_interval
from btjax.studies.proposals import COUNTS, OVERLAPS, ProposalsReport
from btjax.studies.subject import SaliencyConfig
from experiments.command_line import FLAGS, define_cache_flag, define_group, group_from_flags, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_string("checkpoint", None, "folder of the finished run whose maps propose")
    flags.DEFINE_string("data_dir", "", "folder of slices; default the run's own")
    flags.DEFINE_string("workdir", None, "folder for maps, boxes' scores and the page")
    flags.DEFINE_bool("labels", False, "outline training and validation slices by each source's first box too")
    define_cache_flag()
define_group(SaliencyConfig, "saliency")


def main() -> None:
    """Maps, boxes, their scores and the page."""
    if not FLAGS.checkpoint or not FLAGS.workdir:
        raise InputError("--checkpoint and --workdir are needed: a finished run's folder, and one for the results")
    report = proposals(
        FLAGS.checkpoint,
        FLAGS.workdir,
        group_from_flags(SaliencyConfig),
        labels=FLAGS.labels,
        data_dir=FLAGS.data_dir,
        observer=ProgressBar(),
        cache_dir=FLAGS.cache_dir,
    )
    print_result(report)
    print(expanded(FLAGS.workdir) / "proposals.html")


def print_result(report: ProposalsReport) -> None:
    """The recall of every source over all slices, at the larger overlap."""
    rows = [row for row in report.rows if row.group == "all" and row.overlap == OVERLAPS[-1]]
    for source in dict.fromkeys(row.source for row in rows):
        own = {row.count: row.recall for row in rows if row.source == source}
        told = ", ".join(f"{count}: {percent_with_interval(own[count].value, own[count].ci95)}" for count in COUNTS)
        print(f"{source:22s} tumours found by the first {told}")


if __name__ == "__main__":
    run_guarded("proposals", main, __doc__ or "")
