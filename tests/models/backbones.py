"""A small network of each family of backbones."""

from btjax.models.efficientnet import EfficientNet, Group
from btjax.models.inception import BLOCKS, Inception
from btjax.models.resnet import ResNet

GROUPS = (Group(3, 1, 8, 1, 1), Group(5, 2, 8, 2, 2))
SIZES = {"efficientnet": 32, "resnet": 32, "inception": 75}


def tiny(family: str, **options):
    """The family's network with few blocks of few filters."""
    if family == "efficientnet":
        return EfficientNet(groups=GROUPS, **options)
    if family == "resnet":
        return ResNet(counts=(1, 1), width=4, **options)
    return Inception(blocks=(BLOCKS[0], BLOCKS[3], BLOCKS[-1]), divisor=16, **options)
