"""VGG16 with ImageNet's weights (section 4.3 of the paper; Figure 17; Table 2).

python -m experiments.vgg16 --flagfile=experiments/flags/PRESET.flags --data_dir=DATA --weights=FILE --workdir=DIR

Presets: vgg16_paper (the base frozen), vgg16_finetune (block 5 trains too).
"""

import contextlib
import time

import numpy as np

from btjax.base.errors import InputError
from btjax.base.files import cache_folder
from btjax.data.slices import Slices
from btjax.data.splits import Split
from btjax.features.heads import fit_head
from btjax.studies.classifier import Record
from btjax.systems.config import Config
from btjax.systems.transfer import Prepared, prepare_transfer
from experiments.command_line import FLAGS
from experiments.console import DataBars
from experiments.pipeline import open_run, run_classifier, run_experiment, write_report


def prepare(config: Config, slices: Slices, split: Split) -> Prepared:
    """Published weights, and the features that they give."""
    folder = cache_folder(FLAGS.cache_dir) / "features"
    with contextlib.closing(DataBars("slice")) as bars:
        settings = (config.task(), config.training.layer_rates, slices, split, config.seed, folder, bars)
        return prepare_transfer(config.transfer, *settings)


def run_head(config: Config) -> None:
    """Fits a classical classifier on the features and writes its report; there is no checkpoint.

    Raises:
      InputError: a mistake in flags, data or folder, or nothing frozen to take features from.
    """
    if FLAGS.eval_only or FLAGS.resume:
        raise InputError(f"--head={config.transfer.head}: fits in one go, there is nothing to resume or evaluate")
    run, slices, form, split = open_run(config)
    prepared = prepare(config, slices, split)
    if prepared.features is None:
        raise InputError(f"--head={config.transfer.head}: needs features: --weights, and --layer_rates=block*=0,*=1")
    run.start(config, split)
    began, examples = time.perf_counter(), prepared.examples
    if config.training.permuted_labels:
        examples = examples.with_permuted_labels(config.seed)
    logits, setting = fit_head(
        config.transfer.head, examples.images, examples.labels, np.concatenate(examples.train), split.validation
    )
    seconds = round(time.perf_counter() - began, 1)
    training = {"seconds": seconds, "features": prepared.features, "head": config.transfer.head, "setting": setting}
    record = Record({"criterion": "validation_accuracy"}, training, [])
    sides = {side: logits(rows) for side, rows in split.sides().items() if side != "train"}
    write_report(run, config, slices, split, form, sides, record)


def main(config: Config) -> None:
    """Runs the config."""
    if config.transfer.head == "dense":
        run_classifier(config, prepare)
    else:
        run_head(config)


if __name__ == "__main__":
    run_experiment("vgg16", main)
