"""VGG16 with ImageNet's weights and the paper's head."""

from btjax.evaluation.published import RESULTS
from btjax.models.vgg16 import VGG16
from btjax.systems.system import RAFIQ_DATA, Paper, System
from btjax.systems.transfer import TransferConfig, prepare_transfer

SYSTEM = System(
    name="vgg16",
    title="VGG16 transfer",
    reference="Rafiq, Patwary and Weiss, Brain Tumor Classification using Deep Learning, section 4.3, Figure 17",
    model=VGG16,
    extra=TransferConfig,
    prepare=prepare_transfer,
    published=RESULTS["vgg16"],
    claims="176 of 192 test slices (Figure 17), slices divided at random",
    paper=Paper(
        preset="vgg16_paper",
        stated=(
            *("data.image_size", "preprocessing.colour", "model.dense", "training.batch_size", "training.optimizer"),
            *("training.learning_rate", "training.epochs"),
        ),
        inferred=("data.protocol", "training.layer_rates", "training.patience"),
        data=RAFIQ_DATA,
        rows="2452 / 420 / 192",
    ),
)
