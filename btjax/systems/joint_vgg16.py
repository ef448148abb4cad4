"""VGG16 with ImageNet's weights that outlines the tumour and classifies the slice by what it outlines."""

from btjax.models.joint_backbone import JointVGG16
from btjax.systems.backbones import check_outlining
from btjax.systems.joint import JointTransferConfig
from btjax.systems.system import System
from btjax.systems.transfer import prepare_transfer
from btjax.training.joint import JointClassification

SYSTEM = System(
    name="joint_vgg16",
    title="Joint VGG16",
    reference="this library; the encoder is that of Simonyan and Zisserman, ICLR 2015",
    model=JointVGG16,
    task=JointClassification,
    task_options=("segmentation", "dice_weight"),
    extra=JointTransferConfig,
    adapt=check_outlining,
    prepare=prepare_transfer,
)
