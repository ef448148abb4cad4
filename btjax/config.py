"""The config of a run: every option that decides its result, in groups; saved as config.json."""

from __future__ import annotations

import dataclasses
from typing import Any

from flax import linen as nn

from btjax import options
from btjax.data.dataset import DataConfig
from btjax.data.preprocess import Augmentation, Preprocessing
from btjax.errors import InputError
from btjax.models import MODELS
from btjax.training.config import TrainingConfig
from btjax.training.tasks import Classification
from btjax.training.transfer import TransferConfig


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
    """

    experiment: str
    seed: int
    data: DataConfig
    preprocessing: Preprocessing
    augmentation: Augmentation
    model: nn.Module
    training: TrainingConfig
    transfer: TransferConfig | None = None

    def task(self) -> Classification:
        """What training this config means."""
        return Classification(self.model, self.preprocessing, self.augmentation)

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


def config_groups(experiment: str) -> dict[str, type]:
    """The groups of options of an experiment's config, by the name of the config's field."""
    groups = {
        "data": DataConfig,
        "preprocessing": Preprocessing,
        "augmentation": Augmentation,
        "model": MODELS[experiment],
        "training": TrainingConfig,
    }
    return groups | {"transfer": TransferConfig} if experiment == "vgg16" else groups
