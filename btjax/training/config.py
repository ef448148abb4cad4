"""The options of training."""

from __future__ import annotations

import dataclasses

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.training.guidance import MAPS

CLASS_WEIGHTS = ("none", "balanced")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained. The defaults are the paper's, or Keras's where the paper is silent."""

    epochs: int = option(20, "passes over the training rows", minimum=1, maximum=1_000_000)
    batch_size: int = option(32, "slices per step", minimum=1, maximum=65_536)
    optimizer: str = option(
        "adam", "adam, adamw with decoupled weight decay, or sgd with --momentum", choices=("adam", "adamw", "sgd")
    )
    momentum: float = option(0.9, "of sgd: the share of the last step's direction that is kept", minimum=0, maximum=1)
    learning_rate: float = option(0.001, "highest learning rate of the schedule", minimum=0, maximum=1e6)
    schedule: str = option(
        "constant",
        "learning rate over time: constant, cosine (to zero at the last step) or plateau (halved when the validation "
        "loss has not fallen for 3 epochs)",
        choices=("constant", "cosine", "plateau"),
    )
    warmup_epochs: float = option(
        0.0, "epochs over which the learning rate rises from zero, linearly", minimum=0, maximum=1_000_000
    )
    weight_decay: float = option(0.0, "decoupled weight decay of adamw, on kernels only", minimum=0, maximum=1e6)
    layer_rates: tuple[str, ...] = option(
        ("*=1",),
        "learning rate by parameter, PATTERN=FACTOR or PATTERN=FACTOR@EPOCH: the first pattern that matches a path "
        "such as block5_conv1/kernel multiplies its rate, from that epoch on; 0 freezes",
    )
    patience: int = option(0, "stop after this many epochs without a better checkpoint; 0 never", minimum=0)
    select: str = option(
        "validation_loss",
        "what the best checkpoint is chosen by, on validation rows (a classifier has an accuracy, a segmenter a Dice); "
        "last_epoch takes the last whatever it is",
        choices=("validation_loss", "validation_accuracy", "validation_dice", "last_epoch"),
    )
    class_weights: str = option(
        "none",
        "weights of the classes in the training loss: none, or balanced (N / (classes * the class's slices), of the "
        "training rows)",
        choices=CLASS_WEIGHTS,
    )
    permuted_labels: bool = option(
        False,
        "train on the training rows' labels in random order: a model that can only memorise, whose saliency maps show "
        "what maps owe to learning",
    )
    label_smoothing: float = option(
        0.0,
        "share of a classifier's training target that all classes have alike, as in Szegedy et al. 2016",
        minimum=0,
        maximum=0.9,
    )
    mixup: float = option(
        0.0,
        "train a classifier on weighed means of two slices and of their classes, the weight drawn from "
        "Beta(mixup, mixup), as in Zhang et al. 2018; 0 for none",
        minimum=0,
        maximum=100,
    )
    averaged: float = option(
        0.0,
        "share of a running mean of the weights, and of the statistics of normalisation, that each step keeps, such as "
        "0.999; the mean is what is validated and kept; 0 for the weights themselves",
        minimum=0,
        maximum=0.99999,
    )
    guidance: float = option(
        0.0,
        "weight in a classifier's loss of the share of a saliency map that lies outside the tumour's dilated mask (0 "
        "to 1, to 2 for places that speak against the class); 0 "
        "for none",
        minimum=0,
        maximum=1e6,
    )
    guidance_map: str = option(
        "grad_cam", "the map of the true class that --guidance looks at: grad_cam, or gradient of the pixels",
        choices=MAPS,
    )  # fmt: skip
    guidance_radius: int = option(
        4, "pixels by which the mask is dilated for --guidance", minimum=0, maximum=512
    )  # fmt: skip
    checkpoint_every: int = option(1, "epochs between checkpoints to resume from", minimum=1)
    keep_every: int = option(
        0, "epochs between checkpoints that are kept for ever, for pictures over time; 0 keeps none", minimum=0
    )
    devices: int = option(1, "devices over which each batch is divided; they must divide it", minimum=1)
    prng: str = option(
        "threefry2x32",
        "random bits: threefry2x32 (the same on every device), or rbg (faster on TPU and GPU)",
        choices=("threefry2x32", "rbg"),
    )

    def __post_init__(self):
        if self.weight_decay and self.optimizer != "adamw":
            raise InputError(f"--weight_decay={self.weight_decay}: needs --optimizer=adamw")
        if self.mixup and self.class_weights != "none":
            raise InputError(f"--mixup={self.mixup}: a mean of two slices has no class, expected --class_weights=none")
        if self.patience and self.select == "last_epoch":
            raise InputError(f"--patience={self.patience}: --select=last_epoch has no best epoch to wait for")
