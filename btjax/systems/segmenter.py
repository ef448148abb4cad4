"""A small U-Net that outlines the tumour, trained on the data set's masks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.models.segmenter import Segmenter
from btjax.systems.system import System
from btjax.training.segmentation import Segmentation

if TYPE_CHECKING:
    from btjax.systems.config import Config


@dataclasses.dataclass(frozen=True)
class SegmentationConfig:
    """What the loss of a segmentation is made of."""

    dice_weight: float = option(
        0.5, "share of soft Dice in the loss; the rest is the cross-entropy of pixel classes", minimum=0, maximum=1
    )
    taught_by: str = option(
        "",
        "file of outlines that train and choose in the place of the data set's masks, such as labels/gradient.npz of "
        "python -m experiments.proposals --labels; test slices keep their masks",
    )


def segmenter_config(config: Config) -> Config:
    """The config as it is, if its options can be meant for a segmentation.

    Raises:
      InputError: permuted labels, before any data are read.
    """
    if config.training.permuted_labels:
        raise InputError("--permuted_labels: a segmentation learns from masks, which are not permuted; leave it out")
    return config


SYSTEM = System(
    name="segmenter",
    title="U-Net segmenter",
    reference="after Ronneberger, Fischer and Brox, U-Net: convolutional networks for biomedical image segmentation",
    model=Segmenter,
    task=Segmentation,
    task_options=("dice_weight",),
    extra=SegmentationConfig,
    adapt=segmenter_config,
)
