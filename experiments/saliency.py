"""Saliency maps of a trained classifier, scored against the tumour masks, beside controls that ignore the network.

python -m experiments.saliency --checkpoint=RUN --data_dir=DATA --workdir=OUT [--methods=all] [--slices=ID,ID]

RUN is the folder of a finished classifier's run, such as the classifier in a unet run. OUT takes the maps,
saliency.json, saliency.html and figures/; a command that was stopped goes on with the maps that are there.
"""

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.commands.saliency import saliency
from btjax.studies.saliency import HEADLINE
from btjax.studies.saliency_rows import SaliencyReport
from btjax.studies.subject import SaliencyConfig
from experiments.command_line import FLAGS, define_cache_flag, define_group, group_from_flags, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_string("checkpoint", None, "folder of the finished run to explain")
    flags.DEFINE_string("permuted_checkpoint", None, "the same trained with --permuted_labels, to compare maps with")
    flags.DEFINE_string("data_dir", "", "folder of slices; default the run's own")
    flags.DEFINE_string("workdir", None, "folder for maps, scores, figures and the page")
    flags.DEFINE_list("slices", [], "ids of the test slices to draw; default two of each class")
    define_cache_flag()
define_group(SaliencyConfig, "saliency")


def main() -> None:
    """Maps, scores, checks, figures and the page."""
    if not FLAGS.checkpoint or not FLAGS.workdir:
        raise InputError("--checkpoint and --workdir are needed: a finished run's folder, and one for the results")
    report = saliency(
        FLAGS.checkpoint,
        FLAGS.workdir,
        group_from_flags(SaliencyConfig),
        data_dir=FLAGS.data_dir,
        permuted_checkpoint=FLAGS.permuted_checkpoint,
        slices=FLAGS.slices,
        observer=ProgressBar(),
        cache_dir=FLAGS.cache_dir,
    )
    print_result(report)
    print(expanded(FLAGS.workdir) / "saliency.html")


def print_result(report: SaliencyReport) -> None:
    """The five methods that beat their best control by most."""
    compared = () if report.localisation is None else report.localisation.comparison
    rows = [row for row in compared if row.group == "all" and row.score == HEADLINE]
    for row in sorted(rows, key=lambda row: -row.difference)[:5]:
        low, high = row.difference_ci95 or (float("nan"), float("nan"))
        print(
            f"{row.method:22s} {HEADLINE} {row.mean:.3f} on {row.slices} slices, {row.difference:+.3f} "
            f"({low:.3f} to {high:.3f}) over {row.best_control}"
        )


if __name__ == "__main__":
    run_guarded("saliency", main, __doc__ or "")
