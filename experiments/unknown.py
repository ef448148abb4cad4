"""Measures how well a trained run knows when not to answer.

python -m experiments.unknown --checkpoint=RUN --workdir=OUT [--others=NAME=PATH,...]

Photographs that come with scikit-image, noise, smooth noise and synthetic heads are scored beside the run's own test
slices, and so is what --others names. OUT takes unknown.json: for each set the AUROC against the test slices, and the
share that gets an answer all the same.
"""

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.commands.unknown import UNKNOWN, measure_unknown_of
from experiments.command_line import FLAGS, define_cache_flag, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_string("checkpoint", None, "folder of the finished run")
    flags.DEFINE_string("workdir", None, "folder for unknown.json")
    flags.DEFINE_list("others", [], "further sets, NAME=PATH, comma-separated; paths as experiments.predict takes them")
    flags.DEFINE_string("own_dir", "", "where the run's own data set stands; default where the run found it")
    define_cache_flag()


def main() -> None:
    """Measures, writes and prints the table."""
    if not FLAGS.checkpoint or not FLAGS.workdir:
        raise InputError("--checkpoint and --workdir are needed: a finished run, and a folder")
    others = dict(text.partition("=")[::2] for text in FLAGS.others)
    for name, path in others.items():
        if not name or not path:
            raise InputError(f"--others={name}: expected NAME=PATH")
    report = measure_unknown_of(
        FLAGS.checkpoint,
        FLAGS.workdir,
        others=others,
        own_dir=FLAGS.own_dir or None,
        observer=ProgressBar(),
        cache_dir=FLAGS.cache_dir,
    )
    print(f"own test slices: {report.test_answered:.1%} of {report.test_slices} answered")
    for one in report.unknown:
        print(f"{one.name}: AUROC {one.auroc:.3f}, {one.answered:.1%} of {one.slices} answered")
    print(expanded(FLAGS.workdir) / UNKNOWN)


if __name__ == "__main__":
    run_guarded("unknown", main, __doc__ or "")
