"""Says what trained runs make of other people's images, or that it cannot be said.

python -m experiments.predict --checkpoint=RUN[,RUN ...] --images=PATH --workdir=OUT [--explain=grad_cam,...]

PATH is an image, a folder, a pattern ('scans/*.png'), a DICOM file or series, a NIfTI volume, figshare's .mat, or any
form of data that btjax reads, with or without labels. Several runs of the same classes are an ensemble. OUT takes
predictions.csv, predictions.json, predictions.html (the slices in most doubt first) and overlays/. What is unlike the
slices of the training gets no answer; a file that cannot be read is a line with the reason.
"""

from typing import Any

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError
from btjax.commands.predict import PAGE, PredictOptions, predict_into
from btjax.readers.dicom import WINDOWS
from btjax.readers.orientation import PLANES
from experiments.command_line import FLAGS, define_cache_flag, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_list(
        "checkpoint", [], "folders of finished classifiers' runs, comma-separated; several predict together"
    )
    flags.DEFINE_string("images", None, "what is predicted: see above")
    flags.DEFINE_string("workdir", None, "new folder for tables, page and overlays")
    flags.DEFINE_bool("resume", False, "go on with the prediction in workdir")
    flags.DEFINE_list("explain", [], "saliency methods whose maps are drawn, comma-separated, such as grad_cam")
    flags.DEFINE_integer("gallery", 200, "how many slices the page shows and explains", lower_bound=0)
    flags.DEFINE_bool("abstain", True, "give no answer to what is unlike the slices of the training")
    flags.DEFINE_string(
        "own_dir", "", "where the run's own data set stands, needed once; default where the run found it"
    )
    flags.DEFINE_integer("batch_size", 32, "slices at a time", lower_bound=1, upper_bound=65_536)
    define_cache_flag()

with heading("volumes and DICOM files"):
    flags.DEFINE_string("slices", "", "FIRST:LAST slice of each volume or series, counted from 1, both included")
    flags.DEFINE_enum("plane", "", ["", *PLANES], "plane along which NIfTI volumes are cut; default the run's")
    flags.DEFINE_enum("window", "", ["", *WINDOWS], "pixels of DICOM files: stored, or file; default the run's")


def main() -> None:
    """Reads, predicts, writes, and prints what came out."""
    if not FLAGS.checkpoint or not FLAGS.images or not FLAGS.workdir:
        raise InputError("--checkpoint, --images and --workdir are needed: runs, images, and a new folder")
    options = PredictOptions(
        plane=FLAGS.plane,
        window=FLAGS.window,
        slices=_range(FLAGS.slices),
        abstain=FLAGS.abstain,
        own_dir=FLAGS.own_dir or None,
        batch_size=FLAGS.batch_size,
        cache_dir=FLAGS.cache_dir,
    )
    settings: dict[str, Any] = {"explain": FLAGS.explain, "gallery": FLAGS.gallery, "resume": FLAGS.resume}
    found = predict_into(FLAGS.checkpoint, FLAGS.images, FLAGS.workdir, options, observer=ProgressBar(), **settings)
    counts = found.counts
    print(f"answered {counts.answered} of {counts.slices} slices; {counts.untypical} are unlike those of the training")
    for name, count in counts.by_class.items():
        print(f"{name}: {count}")
    if counts.unreadable:
        print(f"not read: {counts.unreadable}, with the reason in predictions.csv")
    print(found.folder / PAGE)


def _range(text: str) -> tuple[int, int] | None:
    first, separator, last = text.partition(":")
    if not text:
        return None
    if not (separator and first.isdecimal() and last.isdecimal()):
        raise InputError(f"--slices={text}: expected FIRST:LAST, such as 40:80")
    return int(first), int(last)


if __name__ == "__main__":
    run_guarded("predict", main, __doc__ or "")
