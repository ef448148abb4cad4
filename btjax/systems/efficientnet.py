"""EfficientNet with ImageNet's weights and a new head."""

from btjax.models.efficientnet import EfficientNet
from btjax.systems.backbones import check_statistics, prepare_backbone
from btjax.systems.system import System
from btjax.systems.transfer import TransferConfig

SYSTEM = System(
    name="efficientnet",
    title="EfficientNet transfer",
    reference="Tan and Le, EfficientNet: rethinking model scaling for convolutional neural networks, ICML 2019",
    model=EfficientNet,
    extra=TransferConfig,
    adapt=check_statistics,
    prepare=prepare_backbone,
    claims="B3, fine-tuned at 300 px under the official folds: 95.45% +- 1.71 (a public repository, 3 training folds)",
)
