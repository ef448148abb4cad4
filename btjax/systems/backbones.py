"""What the systems on pretrained backbones share: their options, and what is refused before anything is computed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError
from btjax.systems.transfer import RANDOM, Published, prepare_transfer
from btjax.weights import backbones

if TYPE_CHECKING:
    from btjax.systems.config import Config


def load_backbone(path: str, model: Any) -> Published:
    """The weights of a backbone's trunk, as `btjax.weights.backbones.load`.

    Raises:
      InputError: see there; or weights without statistics of training for a model that would not use them as they are.
    """
    weights = backbones.load(path, model)
    if weights.folded and not model.fixed_statistics:
        raise InputError(
            f"--nofixed_statistics: the normalisation in {path} was folded into the kernels and has no statistics of "
            "training, expected --fixed_statistics"
        )
    return weights


def check_statistics(config: Config) -> Config:
    """The config as it is, if normalisation would have statistics to use.

    Raises:
      InputError: a trunk that begins with random numbers and keeps the statistics that these came with.
    """
    if config.extra.weights == RANDOM and config.model.fixed_statistics:
        raise InputError("--fixed_statistics: --weights=random come with none, expected --nofixed_statistics")
    return config


def check_outlining(config: Config) -> Config:
    """The config as it is, of a network that classifies by its outlines.

    Raises:
      InputError: a dense layer, a classical head or kept features, which such a network does not have.
    """
    if config.model.dense:
        raise InputError(
            f"--dense={config.model.dense}: {config.system} has no dense layer before its logits, expected 0"
        )
    if config.extra.head != "dense":
        raise InputError(f"--head={config.extra.head}: {config.system} classifies by its outlines, expected dense")
    if config.extra.feature_copies:
        raise InputError(
            f"--feature_copies={config.extra.feature_copies}: {config.system} keeps no features, since its decoder "
            "needs the maps of several stages; expected 0"
        )
    return config


def check_joint(config: Config) -> Config:
    """`check_outlining` and `check_statistics`, of a backbone that outlines."""
    return check_statistics(check_outlining(config))


prepare_backbone = partial(prepare_transfer, load=load_backbone)
"""`prepare_transfer` with a backbone's weights."""
