import chex
import jax
import numpy as np
import pytest
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.models.cnn import CNN
from btjax.saliency.classifier import Classifier, require_classifier, target_scores


def test_the_network_cut_at_any_layer_gives_the_same_logits(small_classifier, small_images):
    logits = small_classifier(small_images)
    chex.assert_shape(logits, (4, 3))
    for layer in small_classifier.model.layers:
        below = small_classifier.below(layer, small_images)
        np.testing.assert_array_equal(small_classifier.above(layer, below), logits)


def test_an_unknown_layer_is_refused_with_the_names_of_the_known(small_classifier, small_images):
    for cut in (small_classifier.below, small_classifier.above):
        with pytest.raises(InputError, match=r"'conv_3': expected one of conv_1, pool_1, conv_2"):
            cut("conv_3", small_images)


@pytest.mark.parametrize(("size", "layer"), [(128, "conv_6"), (64, "conv_5"), (8, "conv_2")])
def test_a_map_looks_at_the_last_convolution_of_four_pixels_or_more(size, layer):
    model = CNN(widths=(2,) * 6, pools=6 if size > 8 else 3, dense=2)
    inputs = jax.ShapeDtypeStruct((1, size, size, 1), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), inputs)
    assert Classifier(model, variables).map_layer(inputs) == layer


def test_a_network_without_such_a_convolution_is_refused():
    model = CNN(widths=(2, 2), pools=1, dense=2)
    inputs = jax.ShapeDtypeStruct((1, 3, 3, 1), np.float32)
    classifier = Classifier(model, jax.eval_shape(model.init, jax.random.key(0), inputs))
    with pytest.raises(InputError, match=r"inputs of 3 pixels.*conv_1 3, conv_2 1; expected one of at least 4"):
        classifier.map_layer(inputs)


def test_the_activation_is_swapped_and_the_weights_stay(small_classifier, small_images):
    linear = small_classifier.with_activation(lambda hidden: hidden)
    assert linear.variables is small_classifier.variables
    assert small_classifier.model.activation is nn.relu
    rectified = nn.relu(linear.below("conv_1", small_images))
    np.testing.assert_array_equal(rectified, small_classifier.below("conv_1", small_images))


def test_a_plain_function_is_no_classifier():
    with pytest.raises(TypeError, match="grad_cam needs a Classifier"):
        require_classifier(lambda inputs: inputs, "grad_cam")


def test_target_scores_are_the_targets_logits():
    scores = target_scores(np.arange(6.0).reshape(2, 3), np.array([2, 0]))
    np.testing.assert_array_equal(scores, [2, 3])


def test_a_network_without_a_named_rectifier_is_refused():
    with pytest.raises(InputError, match="Dense: found no field `activation`"):
        Classifier(nn.Dense(2), {}).with_activation(nn.relu)
