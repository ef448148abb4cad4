"""The U-Net's encoder with a dense layer on top, trained to classify."""

from btjax.models.unet import EncoderClassifier
from btjax.systems.system import System

SYSTEM = System(
    name="encoder_classifier",
    title="U-Net's encoder classifier",
    reference="Rafiq, Patwary and Weiss, Brain Tumor Classification using Deep Learning, section 4.1.1, Figures 11, 12",
    model=EncoderClassifier,
    claims="116 of 128 held-out slices after 160 epochs (Figure 12), slices divided at random",
)
