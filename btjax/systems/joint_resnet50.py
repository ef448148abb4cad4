"""ResNet50 with ImageNet's weights that outlines the tumour and classifies the slice by what it outlines."""

from btjax.models.joint_backbone import JointResNet
from btjax.systems.backbones import check_joint, prepare_backbone
from btjax.systems.joint import JointTransferConfig
from btjax.systems.system import System
from btjax.training.joint import JointClassification

SYSTEM = System(
    name="joint_resnet50",
    title="Joint ResNet50",
    reference="this library; the encoder is that of He, Zhang, Ren and Sun, CVPR 2016",
    model=JointResNet,
    task=JointClassification,
    task_options=("segmentation", "dice_weight"),
    extra=JointTransferConfig,
    adapt=check_joint,
    prepare=prepare_backbone,
)
