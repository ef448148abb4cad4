"""Audits finished runs for shortcuts: does the classifier use the source, the border or the size instead of the tumour?

python -m experiments.audit --runs=RUN[,RUN ...] --workdir=OUT [--data_dir=DATA] [--nonetwork]

The runs are classifiers of one system on one data set: one run, or the folds and seeds of a protocol, which are pooled.
OUT takes audit.json and audit.html: recall by source, plane and lesion size; floors that see no tumour (the border, ten
statistics) under the same splits; the source told from the network's features; leaks; shuffled labels.
"""

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.commands.audit import audit_runs
from experiments.command_line import FLAGS, define_cache_flag, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_list("runs", [], "folders of the finished runs to audit together, comma-separated")
    flags.DEFINE_string("workdir", None, "folder for audit.json and audit.html")
    flags.DEFINE_string("data_dir", "", "where the runs' data set stands; default where the first run found it")
    flags.DEFINE_bool("network", True, "run the networks on blacked slices and for their features; else predictions")
    define_cache_flag()


def main() -> None:
    """Measures, writes, and prints what stands out."""
    if not FLAGS.runs or not FLAGS.workdir:
        raise InputError("--runs and --workdir are needed: folders of finished runs, and one for the audit")
    found = audit_runs(
        FLAGS.runs,
        FLAGS.workdir,
        data_dir=FLAGS.data_dir or None,
        network=FLAGS.network,
        observer=ProgressBar(),
        cache_dir=FLAGS.cache_dir,
    )
    for flag in found.flags:
        print(f"{flag.name}: {flag.sentence}")
    if not found.flags:
        print("nothing was found that explains the accuracy without the tumour")
    print(expanded(FLAGS.workdir) / "audit.html")


if __name__ == "__main__":
    run_guarded("audit", main, __doc__ or "")
