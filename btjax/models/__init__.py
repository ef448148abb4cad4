"""The networks, by the name of the experiment that trains them."""

from btjax.models.cnn import CNN
from btjax.models.unet import EncoderClassifier, UNet
from btjax.models.vgg16 import VGG16

MODELS = {"cnn": CNN, "vgg16": VGG16, "unet": UNet, "encoder_classifier": EncoderClassifier}
