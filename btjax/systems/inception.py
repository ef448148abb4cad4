"""InceptionV3 with ImageNet's weights and a new head."""

from btjax.models.inception import Inception
from btjax.systems.backbones import check_statistics, prepare_backbone
from btjax.systems.system import System
from btjax.systems.transfer import TransferConfig

SYSTEM = System(
    name="inception",
    title="InceptionV3 transfer",
    reference="Szegedy et al., Rethinking the Inception architecture for computer vision, CVPR 2016",
    model=Inception,
    extra=TransferConfig,
    adapt=check_statistics,
    prepare=prepare_backbone,
    claims="five folds by patient: 92.8% to 99.8% by works of its kind, 92.82% by a public repository's plain recipe",
)
