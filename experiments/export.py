"""Exports a trained run for programs that have no btjax.

python -m experiments.export --checkpoint=RUN --workdir=OUT [--to=stablehlo,onnx,safetensors,torch,keras]

StableHLO (jax.export, for cpu, cuda and tpu) and ONNX take uint8 slices [B, S, S] of any B and give calibrated
probabilities and how strange each slice is; safetensors holds the variables; torch a PyTorch state dict (cnn, vgg16,
unet, encoder_classifier) with its module in model_torch.py; keras the layers of VGG16 in Keras's HDF5 layout. OUT also
takes MODEL_CARD.md, model.json (classes, temperature, when not to answer, licence, what to do to an image before) and
load.py, which runs the StableHLO without btjax. ONNX needs jax2onnx and a jax that it runs
under (0.10); where onnxruntime is, its time for a slice is printed beside btjax's own.
"""

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError
from btjax.commands.export import export
from btjax.prediction.export import FORMS
from btjax.prediction.latency import latency_lines, measure_latency
from btjax.runs.run import restore
from experiments.command_line import FLAGS, define_cache_flag, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_string("checkpoint", None, "folder of the finished run")
    flags.DEFINE_string("workdir", None, "new folder for the files")
    flags.DEFINE_list("to", ["stablehlo"], f"forms, comma-separated: {', '.join(FORMS)}; or all that are possible here")
    flags.DEFINE_string("own_dir", "", "where the run's own data set stands; default where the run found it")
    define_cache_flag()


def main() -> None:
    """Exports, and prints what was written."""
    if not FLAGS.checkpoint or not FLAGS.workdir:
        raise InputError("--checkpoint and --workdir are needed: a finished run, and a new folder")
    forms = () if FLAGS.to == ["all"] else FLAGS.to
    if not FLAGS.to:
        raise InputError(f"--to=: expected some of {', '.join(FORMS)}, or all")
    run, settings = restore(FLAGS.checkpoint), {"own_dir": FLAGS.own_dir or None, "cache_dir": FLAGS.cache_dir}
    paths = export(run, FLAGS.workdir, forms, observer=ProgressBar(), **settings)
    for path in paths.values():
        print(path)
    if "onnx" in paths:
        for line in latency_lines(measure_latency(run, paths["onnx"])):
            print(line)


if __name__ == "__main__":
    run_guarded("export", main, __doc__ or "")
