"""The paper's U-Net (section 4.1.1; Figures 2 to 14): autoencoder, encoder classifier, composed models, figures.

python -m experiments.unet --flagfile=experiments/flags/PRESET.flags --data_dir=DATA --workdir=DIR [--stage=STAGE]

Presets: unet_cpu (128 px, half the filters), unet_paper (512 px). Stages, in order: autoencoder, classifier, compose,
figures; `all` is all of them. DIR holds a run for each of the two trained models, and the models composed from them.
"""

from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.commands.unet import STAGES, unet
from experiments.command_line import FLAGS, config_from_flags, define_flags, heading
from experiments.guard import join_others, run_guarded

with heading("stages"):
    flags.DEFINE_enum("stage", "all", ("all", *STAGES), "what to do; `all` does everything in order")
    flags.DEFINE_string("system", "unet", "the system: unet")


def main() -> None:
    """Runs the stages that --stage names."""
    if not FLAGS.workdir:
        raise InputError("--workdir is missing: expected a folder for the run")
    if FLAGS.system != "unet":
        raise InputError(f"--system={FLAGS.system}: this command trains unet; python -m experiments.train takes any")
    join_others()
    stages = STAGES if FLAGS.stage == "all" else (FLAGS.stage,)
    if FLAGS.coordinator and {"compose", "figures"} & {*stages}:
        raise InputError("--coordinator: expected with --stage=autoencoder or --stage=classifier; run the others alone")
    if FLAGS.eval_only:
        raise InputError("--eval_only: the U-Net's is --stage=figures")
    if FLAGS.all_folds or FLAGS.seeds:
        raise InputError("--all_folds and --seeds: expected neither, this experiment trains one run at a time")
    if FLAGS.stream:
        raise InputError("--stream: this experiment keeps its slices in memory; train --system=unet alone with it")
    report = unet(
        config_from_flags("unet"),
        FLAGS.workdir,
        stages,
        resume=FLAGS.resume,
        observers=lambda name: ProgressBar(name),
        cache_dir=FLAGS.cache_dir,
    )
    if report is not None:
        best = report.reconstruction
        psnr = "infinite" if best.psnr is None else f"{best.psnr:.1f} dB"
        print(
            f"test MAE {best.mae:.4f}, PSNR {psnr}, SSIM {best.ssim:.3f} on {report.test_slices} slices\n"
            f"{expanded(FLAGS.workdir) / 'unet.html'}"
        )


if __name__ == "__main__":
    define_flags("unet")
    run_guarded("unet", main, __doc__ or "")
