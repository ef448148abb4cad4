"""Tests a trained classifier on another data set than the one that it was trained on.

python -m experiments.evaluate --checkpoint=RUN --data_dir=OTHER --workdir=OUT [--own_dir=DATA | --nolinks]

RUN is the folder of a finished classifier's run. Classes are matched by name. Slices of OTHER that are linked by their
pixels to the run's own data set (copies, near-duplicates, neighbouring slices) are counted and left out. OUT takes
report.json, report.html and figures/.
"""

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.commands.external import evaluate_on
from experiments.command_line import FLAGS, define_cache_flag, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_string("checkpoint", None, "folder of the finished run to test")
    flags.DEFINE_string("data_dir", None, "folder of the other slices, in any form that btjax reads")
    flags.DEFINE_string("workdir", None, "new folder for report and figures")
    flags.DEFINE_string("own_dir", "", "where the run's own data set stands; default where the run found it")
    flags.DEFINE_bool("links", True, "leave out slices that are linked to the run's own data set by their pixels")
    define_cache_flag()


def main() -> None:
    """Predicts, searches for links, scores and writes."""
    if not FLAGS.checkpoint or not FLAGS.data_dir or not FLAGS.workdir:
        raise InputError("--checkpoint, --data_dir and --workdir are needed: a run, other slices, and a new folder")
    report = evaluate_on(
        FLAGS.checkpoint,
        FLAGS.data_dir,
        FLAGS.workdir,
        own_dir=FLAGS.own_dir,
        links=FLAGS.links,
        observer=ProgressBar(),
        cache_dir=FLAGS.cache_dir,
    )
    test, counts = report.test, report.counts
    low, high = test.accuracy_ci95 or (float("nan"), float("nan"))
    print(f"accuracy {test.accuracy:.4f} (95% interval {low:.3f} to {high:.3f}) on {counts.tested} slices")
    if counts.linked is not None:
        print(f"left out: {sum(counts.linked.values())} slices linked to the run's own data set")
    if counts.unknown:
        told = ", ".join(f"{count} {name}" for name, count in counts.unknown.items())
        print(f"not scored, classes that the model does not know: {told}")
    print(expanded(FLAGS.workdir) / "report.html")


if __name__ == "__main__":
    run_guarded("evaluate", main, __doc__ or "")
