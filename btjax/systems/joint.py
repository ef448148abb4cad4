"""A network that outlines the tumour and classifies the slice by what it outlines, trained on classes and masks."""

from __future__ import annotations

import dataclasses

from btjax.base.options import option
from btjax.models.joint import JointNetwork
from btjax.systems.system import System
from btjax.systems.transfer import TransferConfig
from btjax.training.joint import JointClassification


@dataclasses.dataclass(frozen=True)
class JointConfig:
    """What the loss of joint training is made of."""

    segmentation: float = option(
        1.0, "weight of the pixels' loss beside the classes'; 0 trains without masks", minimum=0, maximum=1e6
    )
    dice_weight: float = option(
        0.5, "share of soft Dice in the pixels' loss; the rest is cross-entropy of pixel classes", minimum=0, maximum=1
    )


@dataclasses.dataclass(frozen=True)
class JointTransferConfig(TransferConfig, JointConfig):
    """What joint training of a backbone begins with, and what its loss is made of."""


SYSTEM = System(
    name="joint",
    title="Joint network",
    reference="this library; the encoder-decoder is that of Ronneberger, Fischer and Brox, MICCAI 2015",
    model=JointNetwork,
    task=JointClassification,
    task_options=("segmentation", "dice_weight"),
    extra=JointConfig,
)
