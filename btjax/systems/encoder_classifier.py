"""The U-Net's encoder with a dense layer on top, trained to classify."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from btjax.models.unet import EncoderClassifier, halvings
from btjax.systems.system import RAFIQ_DATA, Paper, System

if TYPE_CHECKING:
    from btjax.systems.config import Config


def encoder_classifier_config(config: Config) -> Config:
    """The config of the encoder classifier that goes with a U-Net's: a system of its own, of the same width."""
    stages = config.extra
    training = dataclasses.replace(
        config.training,
        epochs=stages.classifier_epochs,
        learning_rate=stages.classifier_learning_rate,
        keep_every=2 * config.training.keep_every,
    )
    model = EncoderClassifier(
        levels=halvings(config.data.image_size),
        width=config.model.width,
        dropout=stages.classifier_dropout,
        dtype=config.model.dtype,
    )
    changed = dataclasses.replace(config, system="encoder_classifier", model=model, training=training, extra=None)
    return changed.with_classes(config.classes)


SYSTEM = System(
    name="encoder_classifier",
    title="U-Net's encoder classifier",
    reference="Rafiq, Patwary and Weiss, Brain Tumor Classification using Deep Learning, section 4.1.1, Figures 11, 12",
    model=EncoderClassifier,
    claims="116 of 128 held-out slices after 160 epochs (Figure 12), slices divided at random",
    paper=Paper(
        preset="unet_paper",
        adapt=encoder_classifier_config,
        stated=("data.image_size", "preprocessing.colour", "model.width", "model.levels", "training.epochs"),
        inferred=("data.protocol", "training.batch_size"),
        data=RAFIQ_DATA,
        rows="2452 / 420 / 192, the matrix of 128",
    ),
)
