"""EfficientNet with ImageNet's weights that outlines the tumour and classifies the slice by what it outlines."""

from btjax.models.joint_backbone import JointEfficientNet
from btjax.systems.backbones import check_joint, prepare_backbone
from btjax.systems.joint import JointTransferConfig
from btjax.systems.system import System
from btjax.training.joint import JointClassification

SYSTEM = System(
    name="joint_efficientnet",
    title="Joint EfficientNet",
    reference="this library; the encoder is that of Tan and Le, EfficientNet, ICML 2019",
    model=JointEfficientNet,
    task=JointClassification,
    task_options=("segmentation", "dice_weight"),
    extra=JointTransferConfig,
    adapt=check_joint,
    prepare=prepare_backbone,
)
