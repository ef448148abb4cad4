"""The config of a run: every option that decides its result, in groups; saved as config.json."""

from __future__ import annotations

import dataclasses
from typing import Any

from flax import linen as nn

from btjax.base import options
from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.data.dataset import DataConfig
from btjax.data.preprocess import Augmentation, Preprocessing
from btjax.models import MODELS
from btjax.models.unet import EncoderClassifier, halvings
from btjax.systems.transfer import TransferConfig
from btjax.training.config import TrainingConfig
from btjax.training.tasks import Classification, Reconstruction


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


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides a run's result; saved as config.json.

    Attributes:
      experiment: name of the experiment, a key of `btjax.models.MODELS`.
      seed: seed of the split, the parameters, the data order, the augmentation and the dropout.
      data: which slices.
      preprocessing: how they become the network's input.
      augmentation: how training slices vary.
      model: the network, a Flax module whose options are its fields.
      training: how it is trained.
      transfer: what it begins with, for experiments that begin with published weights.
      stages: what follows the autoencoder, for the U-Net's experiment.
    """

    experiment: str
    seed: int
    data: DataConfig
    preprocessing: Preprocessing
    augmentation: Augmentation
    model: nn.Module
    training: TrainingConfig
    transfer: TransferConfig | None = None
    stages: StageConfig | None = None

    def task(self) -> Classification | Reconstruction:
        """What training this config means."""
        kind = Reconstruction if self.experiment == "unet" else Classification
        return kind(self.model, self.preprocessing, self.augmentation)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        groups = {name: options.to_dict(getattr(self, name)) for name in config_groups(self.experiment)}
        return {"experiment": self.experiment, "seed": self.seed} | groups

    @staticmethod
    def from_json(values: dict[str, Any], where: str) -> Config:
        """Builds a config from `to_json`'s output; `where` names the file in an error.

        Raises:
          InputError: a missing or unknown option or experiment.
        """
        experiment = values.get("experiment") if isinstance(values, dict) else None
        if experiment not in MODELS:
            raise InputError(f"{where}: experiment is {experiment!r}, expected one of {', '.join(MODELS)}")
        kinds = config_groups(experiment)
        unknown = values.keys() - kinds.keys() - {"experiment", "seed", "split"}
        if unknown:
            raise InputError(f"{where}: unknown keys: {', '.join(sorted(unknown))}")
        missing = [name for name in ("seed", *kinds) if name not in values]
        if missing:
            raise InputError(f"{where}: {', '.join(missing)} missing")
        if not isinstance(values["seed"], int):
            raise InputError(f"{where}: seed is {values['seed']!r}, expected an integer")
        groups = {name: options.from_dict(kind, values[name], f"{where}: {name}") for name, kind in kinds.items()}
        return Config(experiment=experiment, seed=values["seed"], **groups)


def autoencoder_config(config: Config) -> Config:
    """The autoencoder's own config: it is chosen by its loss and sees slices as they are."""
    training = dataclasses.replace(config.training, select="validation_loss")
    return dataclasses.replace(config, training=training, augmentation=Augmentation())


def encoder_classifier_config(config: Config) -> Config:
    """The config of the encoder classifier that goes with a U-Net's: an experiment of its own, of the same width."""
    stages = config.stages
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
    return dataclasses.replace(config, experiment="encoder_classifier", model=model, training=training, stages=None)


def config_groups(experiment: str) -> dict[str, type]:
    """The groups of options of an experiment's config, by the name of the config's field."""
    groups = {
        "data": DataConfig,
        "preprocessing": Preprocessing,
        "augmentation": Augmentation,
        "model": MODELS[experiment],
        "training": TrainingConfig,
    }
    return groups | {"vgg16": {"transfer": TransferConfig}, "unet": {"stages": StageConfig}}.get(experiment, {})
