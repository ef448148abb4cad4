"""Exports a trained run for programs that have no btjax.

python -m experiments.export --checkpoint=RUN --workdir=OUT [--to=stablehlo,onnx,safetensors]

StableHLO (jax.export, for cpu, cuda and tpu) and ONNX take uint8 slices [B, S, S] of any B and give calibrated
probabilities; safetensors holds the variables. OUT also takes model.json (classes, temperature, what to do to an image
before) and load.py, which runs the StableHLO without btjax. ONNX needs jax2onnx and onnxruntime.
"""

from absl import flags

from btjax.base.errors import InputError
from btjax.commands.export import export
from experiments.command_line import FLAGS, define_cache_flag, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_string("checkpoint", None, "folder of the finished run")
    flags.DEFINE_string("workdir", None, "new folder for the files")
    flags.DEFINE_list("to", ["stablehlo"], "forms: stablehlo, onnx, safetensors, comma-separated")
    define_cache_flag()


def main() -> None:
    """Exports, and prints what was written."""
    if not FLAGS.checkpoint or not FLAGS.workdir:
        raise InputError("--checkpoint and --workdir are needed: a finished run, and a new folder")
    for path in export(FLAGS.checkpoint, FLAGS.workdir, FLAGS.to).values():
        print(path)


if __name__ == "__main__":
    run_guarded("export", main, __doc__ or "")
