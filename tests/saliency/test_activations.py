import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.nn.chain import run_chain
from btjax.saliency import activations
from btjax.saliency.classifier import Classifier

KEY = jax.random.key(5)


class PooledNet(nn.Module):
    """One 1x1 convolution with ReLU, global average pooling, and a linear layer: the network of CAM."""

    layers = ("features", "pooling", "logits")

    @nn.compact
    def __call__(self, inputs, *, start=None, stop=None):
        def features(hidden):
            return nn.relu(nn.Conv(5, (1, 1), use_bias=False, name="features")(hidden))

        chain = [("features", features), ("pooling", lambda hidden: hidden.mean((1, 2)))]
        return run_chain([*chain, ("logits", nn.Dense(3, name="logits"))], inputs, start, stop)


@pytest.fixture(scope="module")
def pooled():
    """The classifier, images [2, 8, 8, 3], targets, activations [2, 8, 8, 5] and the targets' weights [2, 1, 1, 5]."""
    images = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32)
    targets = np.array([2, 0], np.int32)
    model = PooledNet()
    classifier = Classifier(model, model.init(jax.random.key(0), images))
    maps = np.asarray(classifier.below("features", images))
    weights = np.asarray(classifier.variables["params"]["logits"]["kernel"])[:, targets].T
    return classifier, images, targets, maps, weights[:, None, None]


def test_on_pooled_features_the_maps_are_their_closed_forms(pooled):
    classifier, images, targets, maps, weights = pooled
    arguments = (classifier, images, targets, KEY)
    signed = np.sum(weights * maps, axis=-1)
    assert signed.min() < 0 < signed.max() and weights.min() < 0 < weights.max()
    # Class activation mapping proper; Grad-CAM's gradients carry the 1 / 64 of the pooling.
    np.testing.assert_allclose(64 * activations.grad_cam(*arguments), np.maximum(signed, 0), atol=1e-5)
    np.testing.assert_allclose(64 * activations.hires_cam(*arguments), signed, atol=1e-5)
    positive = np.maximum(np.sum(np.maximum(weights, 0) * maps, axis=-1), 0)
    np.testing.assert_allclose(64 * activations.layer_cam(*arguments), positive, atol=1e-5)
    gradient = weights / 64
    alphas = gradient**2 / (2 * gradient**2 + maps.sum((1, 2), keepdims=True) * gradient**3)
    plus = np.sum(64 * alphas * np.maximum(gradient, 0) * maps, axis=-1)
    np.testing.assert_allclose(activations.grad_cam_plus_plus(*arguments), np.maximum(plus, 0), rtol=1e-4, atol=1e-6)


def test_score_cam_weighs_channels_by_the_logits_of_the_masked_image(pooled):
    classifier, images, targets, maps, _ = pooled
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    masks = (maps - low) / (high - low)
    for baseline in (0.0, -0.5):
        scores = [
            classifier(baseline + masks[..., channel : channel + 1] * (images - baseline))[np.arange(2), targets]
            for channel in range(5)
        ]
        weights = np.exp(scores) / np.exp(scores).sum(0)
        expected = np.maximum(np.einsum("kb,bhwk->bhw", weights, maps), 0)
        for chunk in (2, 10):
            found = activations.score_cam(classifier, images, targets, KEY, baseline=baseline, chunk=chunk)
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_score_cam_of_some_channels_takes_those_that_vary_most_in_each_image(pooled):
    classifier, images, targets, maps, _ = pooled
    found = activations.score_cam(classifier, images, targets, KEY, channels=2)
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    masks = (maps - low) / (high - low)
    for row in range(2):
        chosen = np.argsort(-np.var(maps[row], axis=(0, 1)))[:2]
        scores = [classifier(masks[row : row + 1, ..., [k]] * images[row : row + 1])[0, targets[row]] for k in chosen]
        weights = np.exp(scores) / np.sum(np.exp(scores))
        np.testing.assert_allclose(found[row], np.maximum(maps[row][..., chosen] @ weights, 0), atol=1e-5)
    everything = activations.score_cam(classifier, images, targets, KEY)
    np.testing.assert_array_equal(activations.score_cam(classifier, images, targets, KEY, channels=9), everything)


def test_a_named_layer_is_looked_at_and_enlarged(small_classifier, small_images, small_targets):
    arguments = (small_classifier, small_images, small_targets, KEY)
    np.testing.assert_array_equal(activations.grad_cam(*arguments), activations.grad_cam(*arguments, layer="conv_2"))
    assert not np.allclose(activations.grad_cam(*arguments), activations.grad_cam(*arguments, layer="conv_1"))
    maps = activations.hires_cam(*arguments, layer="conv_2")
    hidden = small_classifier.below("conv_2", small_images)
    gradient = jax.grad(lambda hidden: jnp.sum(small_classifier.above("conv_2", hidden)[np.arange(4), small_targets]))(
        hidden
    )
    small = jnp.sum(hidden * gradient, axis=-1)
    assert small.shape == (4, 8, 8)
    # Bilinear between pixel centres: an inner pixel takes 3/4 of its own cell and 1/4 of the next, along each axis.
    inner = np.einsum("i,j,bij->b", [0.25, 0.75], [0.25, 0.75], small[:, 2:4, 4:6])
    np.testing.assert_allclose(maps[:, 6, 10], inner, atol=1e-5)


def test_layers_that_are_unknown_or_no_maps_and_plain_functions_are_refused(pooled):
    classifier, images, targets, *_ = pooled
    methods = (activations.grad_cam, activations.grad_cam_plus_plus, activations.layer_cam, activations.hires_cam)
    for method in (*methods, activations.score_cam):
        with pytest.raises(InputError, match="'conv_9': expected one of features, pooling, logits"):
            method(classifier, images, targets, KEY, layer="conv_9")
        with pytest.raises(InputError, match=r"'pooling': its output is \[2, 5\], expected a map"):
            method(classifier, images, targets, KEY, layer="pooling")
        with pytest.raises(TypeError, match=method.__name__):
            method(lambda inputs: inputs, images, targets, KEY)
