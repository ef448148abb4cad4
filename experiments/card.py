"""Writes a finished run's model card, or checks that one says what the run's report says.

python -m experiments.card --checkpoint=RUN [--workdir=OUT] [--check]

MODEL_CARD.md has Hugging Face's front matter and sections: intended use, data, training, every score with its interval
by class, source and plane, what a class may be told by instead of its tumour, limits, how to load. It goes into RUN, or
into OUT, such as a folder that experiments.export filled. --check names the first line that is not the report's and
ends with status 2; lines without digits may be added below the front matter.
"""

from absl import flags

from btjax.base.errors import InputError
from btjax.commands.card import model_card
from experiments.command_line import FLAGS, define_cache_flag, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_string("checkpoint", None, "folder of the finished run")
    flags.DEFINE_string("workdir", None, "folder that the card goes with; default the run's own")
    flags.DEFINE_bool("check", False, "compare the card that is there with the report, and write nothing")
    define_cache_flag()


def main() -> None:
    """Writes or checks, and prints the card's path."""
    if not FLAGS.checkpoint:
        raise InputError("--checkpoint is needed: the folder of a finished run")
    path = model_card(FLAGS.checkpoint, FLAGS.workdir or None, check=FLAGS.check)
    print(f"{path}: as the report" if FLAGS.check else path)


if __name__ == "__main__":
    run_guarded("card", main, __doc__ or "")
