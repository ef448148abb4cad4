"""Makes a finished run into one folder for others, which btjax.restore and Hugging Face's upload take as it is.

python -m experiments.release --checkpoint=RUN --workdir=OUT

OUT takes the best checkpoint, config.json, report.json, MODEL_CARD.md (and the same as README.md), predictions of every
row, a table of the test rows, exports/ in every form that the network and the installed packages permit, and SHA256SUMS
(sha256sum -c SHA256SUMS). It holds no slice of the data set and no path of this machine; ids of slices and
patients stand in the predictions as the data set has them. What is made is moved into OUT when it is complete.
"""

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError
from btjax.commands.release import release
from experiments.command_line import FLAGS, define_cache_flag, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_string("checkpoint", None, "folder of the finished run")
    flags.DEFINE_string("workdir", None, "new folder for the release, or an earlier release of the same weights")
    flags.DEFINE_string("own_dir", "", "where the run's own data set stands; default where the run found it")
    define_cache_flag()


def main() -> None:
    """Makes the release, and prints its folder."""
    if not FLAGS.checkpoint or not FLAGS.workdir:
        raise InputError("--checkpoint and --workdir are needed: a finished run, and a new folder")
    settings = {"own_dir": FLAGS.own_dir or None, "cache_dir": FLAGS.cache_dir}
    print(release(FLAGS.checkpoint, FLAGS.workdir, observer=ProgressBar(), **settings).folder)


if __name__ == "__main__":
    run_guarded("release", main, __doc__ or "")
