"""The paper's U-Net: an autoencoder whose encoder later classifies."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.data.augment import Augmentation
from btjax.models.unet import UNet
from btjax.systems.system import RAFIQ_DATA, Paper, System
from btjax.training.tasks import Reconstruction

if TYPE_CHECKING:
    from btjax.systems.config import Config


@dataclasses.dataclass(frozen=True)
class StageConfig:
    """What the U-Net's experiment has beyond its autoencoder: the encoder classifier, and the composed models."""

    classifier_epochs: int = option(160, "epochs of the encoder classifier", minimum=1)
    classifier_learning_rate: float = option(0.001, "highest learning rate of the encoder classifier", minimum=0)
    classifier_dropout: float = option(
        0.0, "share of the latent dropped before the encoder classifier's logits", minimum=0, maximum=0.99
    )
    classifier_start: str = option(
        "fresh",
        "what the encoder classifier begins with: fresh parameters (the paper's), or the trained autoencoder's encoder",
        choices=("fresh", "autoencoder"),
    )
    latent: str = option(
        "classifier",
        "whose `latent` layer the final model has; the paper has one in both and does not say",
        choices=("classifier", "autoencoder"),
    )
    right_colorer: str = option(
        "fresh",
        "whose `colorer` the right model has: fresh as the text says, or the autoencoder's as Figure 9 looks",
        choices=("fresh", "autoencoder"),
    )


def autoencoder_config(config: Config) -> Config:
    """The config that the autoencoder is trained under: it is chosen by its loss and sees slices as they are.

    Raises:
      InputError: class weights, before any data are read.
    """
    weights = config.training.class_weights
    if weights != "none":
        raise InputError(f"--class_weights={weights}: an autoencoder has no classes, expected none")
    training = dataclasses.replace(config.training, select="validation_loss")
    return dataclasses.replace(config, training=training, augmentation=Augmentation())


SYSTEM = System(
    name="unet",
    title="U-Net autoencoder",
    reference="Rafiq, Patwary and Weiss, Brain Tumor Classification using Deep Learning, section 4.1.1",
    model=UNet,
    task=Reconstruction,
    extra=StageConfig,
    adapt=autoencoder_config,
    claims="a mean absolute error of .02 after 30 epochs (Figure 7)",
    paper=Paper(
        preset="unet_paper",
        adapt=autoencoder_config,
        stated=("data.image_size", "preprocessing.colour", "model.width", "training.epochs"),
        inferred=("data.protocol", "training.batch_size"),
        data=RAFIQ_DATA,
        rows="2452 / 420 / 192",
    ),
)
