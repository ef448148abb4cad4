"""Serves a page that says what trained runs make of an image that is dropped on it, or that it cannot be said.

python -m experiments.serve --checkpoint=RUN[,RUN ...] [--explain=grad_cam,...] [--port=7860]

The page takes one slice at a time: an image, a DICOM file or a .mat of figshare. It shows the class, the probabilities,
the classes that fit and a map over the slice, or why there is no answer. It listens on this machine alone unless --host
says otherwise, keeps nothing, and tells nobody. Needs the extra `serve`: pip install btjax[serve]. Ctrl-C ends it.
"""

import signal
import threading

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError, Stop
from btjax.commands.predict import PredictOptions
from btjax.commands.serve import serving
from btjax.readers.dicom import WINDOWS
from experiments.command_line import FLAGS, define_cache_flag, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_list(
        "checkpoint", [], "folders of finished classifiers' runs, comma-separated; several predict together"
    )
    flags.DEFINE_list("explain", ["grad_cam"], "saliency methods whose maps are drawn, comma-separated; may be empty")
    flags.DEFINE_bool("abstain", True, "give no answer to what is unlike the slices of the training")
    flags.DEFINE_string(
        "own_dir", "", "where the run's own data set stands, needed once; default where the run found it"
    )
    flags.DEFINE_enum("window", "", ["", *WINDOWS], "pixels of DICOM files: stored, or file; default the run's")
    define_cache_flag()

with heading("page"):
    flags.DEFINE_string("host", "127.0.0.1", "address to listen on; 0.0.0.0 lets everybody on the network use the page")
    flags.DEFINE_integer("port", 7860, "to listen on; 0 for a free one", lower_bound=0, upper_bound=65_535)


def main() -> None:
    """Prepares the runs, prints the page's address, and serves it until it is stopped."""
    if not FLAGS.checkpoint:
        raise InputError("--checkpoint is needed: folders of finished runs")
    options = PredictOptions(
        window=FLAGS.window, abstain=FLAGS.abstain, own_dir=FLAGS.own_dir or None, cache_dir=FLAGS.cache_dir
    )
    place = {"host": FLAGS.host, "port": FLAGS.port}
    explain = [name for name in FLAGS.explain if name]
    asked, number = threading.Event(), []

    def stop(signum: int, _: object) -> None:
        number.append(signum)
        asked.set()

    with serving(FLAGS.checkpoint, options, explain=explain, observer=ProgressBar(), **place) as address:
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, stop)
        print(f"{address}\nCtrl-C ends the page", flush=True)
        asked.wait()
    ended = Stop("the page is closed")
    ended.signal = number[0]
    raise ended


if __name__ == "__main__":
    run_guarded("serve", main, __doc__ or "")
