"""The paper's U-Net (section 4.1.1; Figures 2 to 14): autoencoder, encoder classifier, composed models, figures.

python -m experiments.unet --flagfile=experiments/flags/PRESET.flags --data_dir=DATA --workdir=DIR [--stage=STAGE]

Presets: unet_cpu (128 px, half the filters), unet_paper (512 px). Stages, in order: autoencoder, classifier, compose,
figures; `all` is all of them. DIR holds a run for each of the two trained models, and what is made of them.
"""

import pathlib

import numpy as np
from absl import flags

from btjax.base.errors import InputError
from btjax.data.slices import Slices
from btjax.data.splits import Split
from btjax.models.compose import encoder_of
from btjax.runs.run import Run, restore
from btjax.studies.unet import compose, write_unet_report
from btjax.systems.config import Config, autoencoder_config, encoder_classifier_config
from btjax.systems.transfer import Prepared
from btjax.training.loop import Examples
from experiments.command_line import FLAGS
from experiments.pipeline import load_and_split, prepare_slices, report_classifier, run_experiment, train

STAGES = ("autoencoder", "classifier", "compose", "figures")

flags.DEFINE_enum("stage", "all", ("all", *STAGES), "what to do; `all` does everything in order")


def run_folder(name: str) -> Run:
    """The run of the autoencoder or the classifier."""
    return Run(pathlib.Path(FLAGS.workdir) / name)


def require(stage: str, *names: str) -> None:
    """Raises InputError where a model that a stage needs is not there."""
    for name in names:
        if not run_folder(name).checkpoints.exists("best"):
            raise InputError(f"--stage={stage}: no {name} in {FLAGS.workdir}; run --stage={name} first")


def train_autoencoder(config: Config, slices: Slices, split: Split) -> None:
    """Stage 1: mean absolute error between a slice and what the U-Net makes of it."""
    run, config = run_folder("autoencoder"), autoencoder_config(config)
    run.check(config, FLAGS.resume)
    train(run, config, prepare_slices(config, slices, split), split)


def train_classifier(config: Config, slices: Slices, split: Split, form: str) -> None:
    """Stage 2: the encoder with a dense layer, and its report."""
    run, second = run_folder("classifier"), encoder_classifier_config(config)
    run.check(second, FLAGS.resume)
    pretrained = {}
    if config.stages.classifier_start == "autoencoder":
        require("classifier", "autoencoder")
        pretrained = encoder_of(restore(run_folder("autoencoder").folder).variables["params"])
    prepared = Prepared(second.task(), Examples.of(slices, split), pretrained, None)
    train(run, second, prepared, split)
    report_classifier(run, second, slices, split, form, prepared)


def main(config: Config) -> None:
    """Runs the stages that --stage names."""
    chosen = STAGES if FLAGS.stage == "all" else (FLAGS.stage,)
    if FLAGS.coordinator and {"compose", "figures"} & {*chosen}:
        raise InputError("--coordinator: expected with --stage=autoencoder or --stage=classifier; run the others alone")
    if FLAGS.eval_only:
        raise InputError("--eval_only: the U-Net's is --stage=figures")
    if "autoencoder" not in chosen:
        trained = ("autoencoder", "classifier") if "classifier" not in chosen else ()
        require(FLAGS.stage, *trained)
    slices, form, split = load_and_split(config)
    if "autoencoder" in chosen:
        train_autoencoder(config, slices, split)
    if "classifier" in chosen:
        train_classifier(config, slices, split, form)
    folder = pathlib.Path(FLAGS.workdir)
    if "compose" in chosen:
        for name, origins in compose(folder, config.stages, config.seed).items():
            print(f"{name}: " + ", ".join(f"{np.sum([o == part for o in origins.values()])} leaves {part}"
                                          for part in sorted(set(origins.values()))))  # fmt: skip
    if "figures" in chosen:
        print(write_unet_report(folder, slices, split, form))


if __name__ == "__main__":
    run_experiment("unet", main)
