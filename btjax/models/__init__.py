"""The networks, by the name of the experiment that trains them."""

from btjax.models.cnn import CNN

MODELS = {"cnn": CNN}
