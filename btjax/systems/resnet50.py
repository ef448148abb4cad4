"""ResNet50 with ImageNet's weights and a new head."""

from btjax.models.resnet import ResNet
from btjax.systems.backbones import check_statistics, prepare_backbone
from btjax.systems.system import System
from btjax.systems.transfer import TransferConfig

SYSTEM = System(
    name="resnet50",
    title="ResNet50 transfer",
    reference="He, Zhang, Ren and Sun, Deep residual learning for image recognition, CVPR 2016",
    model=ResNet,
    extra=TransferConfig,
    adapt=check_statistics,
    prepare=prepare_backbone,
)
