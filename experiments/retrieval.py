"""Similar slices are retrieved: Cheng's system of 2016, what each of its stages adds, and networks' features.

python -m experiments.retrieval --flagfile=experiments/flags/cheng2016.flags --data_dir=DATA --workdir=DIR

With --networks=RUN[@STAGE][,RUN ...] the features of trained networks are compared too.

The test slices of every fold of --protocol are queries; the other slices are ranked by their likeness to each. DIR
takes retrieval.json and retrieval.html: mean average precision and precision at 1, 10 and 20 with intervals by family,
the same without slices of the query's own family, and queries with the slices that were found for them. Stopped, the
same command goes on.
"""

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.commands.retrieval import VARIANT_NAMES, run_retrieval
from experiments.command_line import FLAGS, config_from_flags, define_cache_flag, define_options, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_string("system", "cheng2016", "the system")
    flags.DEFINE_string("workdir", None, "folder of the results: retrieval.json, retrieval.html")
    flags.DEFINE_list("variants", list(VARIANT_NAMES), "ways to compare slices, comma-separated")
    flags.DEFINE_list(
        "networks",
        [],
        "runs whose features are compared by their cosine, comma-separated; {fold} in a path stands for the fold, "
        "@STAGE at its end for another stage than the one below the logits",
    )
    flags.DEFINE_integer("seed", 0, "of the sampled patches and of the mixtures", lower_bound=0)
    define_cache_flag()
define_options("cheng2016")


def main() -> None:
    """Ranks, writes, and prints the means."""
    if not FLAGS.workdir:
        raise InputError("--workdir is missing: expected a folder for the results")
    report = run_retrieval(
        config_from_flags("cheng2016"),
        FLAGS.workdir,
        variants=[name for name in FLAGS.variants if name],
        networks=FLAGS.networks,
        observer=ProgressBar(),
        cache_dir=FLAGS.cache_dir,
    )
    for one in report.compared:
        print(f"{one.title}: mean average precision {100 * one.mean:.2f}")
    print(expanded(FLAGS.workdir) / "retrieval.html")


if __name__ == "__main__":
    run_guarded("retrieval", main, __doc__ or "")
