import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.nn.convolution import conv_general_dilated
from btjax.saliency import gradients

NHWC = ("NHWC", "HWIO", "NHWC")
KEY = jax.random.key(3)
GENERATOR = np.random.default_rng(2)
IMAGES = GENERATOR.random((3, 6, 6, 2), np.float32)
TARGETS = np.array([2, 0, 1], np.int32)
WEIGHTS = GENERATOR.standard_normal((6, 6, 2, 3)).astype(np.float32)


def run(method, logits, images, targets, **options):
    """The method as one compiled program."""
    return np.asarray(jax.jit(functools.partial(method, logits, **options))(images, targets, KEY))


def linear(inputs):
    return jnp.einsum("bhwc,hwck->bk", inputs, WEIGHTS)


def quadratic(inputs):
    return jnp.einsum("bhwc,hwck->bk", inputs**2 / 2, WEIGHTS)


CHOSEN = np.moveaxis(WEIGHTS[..., TARGETS], -1, 0)


def test_the_gradient_equals_central_differences_in_double_precision():
    with jax.enable_x64(True):
        kernel = GENERATOR.standard_normal((3, 3, 2, 4))
        dense = GENERATOR.standard_normal((4, 3))

        def logits(inputs):
            hidden = jnp.tanh(conv_general_dilated(inputs, kernel, (1, 1), "SAME", dimension_numbers=NHWC))
            return jnp.sin(hidden.mean((1, 2)) @ dense)

        images = GENERATOR.random((2, 6, 6, 2))
        targets = np.array([1, 2])
        found = np.asarray(gradients.input_gradient(logits, images, targets))
        chex.assert_type(found, np.float64)
        steps = 1e-5 * np.eye(72).reshape(72, 6, 6, 2)
        for image, target, gradient in zip(images, targets, found, strict=True):
            difference = (logits(image + steps) - logits(image - steps))[:, target] / 2e-5
            np.testing.assert_allclose(gradient.ravel(), difference, rtol=1e-6, atol=1e-9)
        magnitude = gradients.gradient(logits, images, targets, KEY)
        np.testing.assert_allclose(magnitude, np.sqrt(np.sum(found**2, axis=-1)), rtol=1e-12)


def test_methods_of_a_linear_function_are_its_weights():
    arguments = (linear, IMAGES, TARGETS)
    magnitude = np.linalg.norm(CHOSEN, axis=-1)
    np.testing.assert_allclose(run(gradients.gradient, *arguments), magnitude, rtol=1e-5)
    np.testing.assert_allclose(run(gradients.smooth_grad, *arguments, samples=4), magnitude, rtol=1e-5)
    np.testing.assert_allclose(run(gradients.smooth_grad_squared, *arguments, samples=4), magnitude**2, rtol=1e-5)
    np.testing.assert_allclose(run(gradients.var_grad, *arguments, samples=4), 0, atol=1e-6)
    product = np.sum(CHOSEN * IMAGES, axis=-1)
    np.testing.assert_allclose(run(gradients.gradient_times_input, *arguments), product, atol=1e-5)
    np.testing.assert_allclose(run(gradients.integrated_gradients, *arguments, steps=4), product, atol=1e-5)
    shifted = np.sum(CHOSEN * (IMAGES - 0.25), axis=-1)
    found = run(gradients.expected_gradients, *arguments, samples=4, baselines=np.full((1, 6, 6, 2), 0.25, np.float32))
    np.testing.assert_allclose(found, shifted, atol=1e-5)


def test_smooth_grad_without_noise_is_the_gradient(small_classifier, small_images, small_targets):
    arguments = (small_classifier, small_images, small_targets)
    gradient = run(gradients.gradient, *arguments)
    assert gradient.min() >= 0
    np.testing.assert_allclose(
        run(gradients.smooth_grad, *arguments, samples=3, noise=0), gradient, rtol=1e-5, atol=1e-6
    )
    squared = run(gradients.smooth_grad_squared, *arguments, samples=3, noise=0)
    np.testing.assert_allclose(squared, gradient**2, rtol=1e-5, atol=1e-6)


def test_noise_has_the_stated_share_of_each_images_range():
    """The gradient of sum(w x^2) / 2 is w x: noise of deviation s adds w^2 s^2 to its square, and is its variance."""
    images = IMAGES * np.array([1, 10, 0.1], np.float32)[:, None, None, None]
    arguments = (quadratic, images, TARGETS)
    deviation = 0.2 * (images.max((1, 2, 3)) - images.min((1, 2, 3)))[:, None, None]
    expected = np.sum(CHOSEN**2, axis=-1) * deviation**2
    found = run(gradients.var_grad, *arguments, samples=1000, noise=0.2, chunk=300) / expected
    np.testing.assert_allclose(found.mean((1, 2)), 1, atol=0.03)
    np.testing.assert_allclose(found, 1, atol=0.25)
    squared = run(gradients.smooth_grad_squared, *arguments, samples=1000, noise=0.2, chunk=300)
    clean = np.sum((CHOSEN * images) ** 2, axis=-1)
    np.testing.assert_allclose(squared.sum((1, 2)), (clean + expected).sum((1, 2)), rtol=0.03)


def test_integrated_gradients_add_up_to_the_change_of_the_logit(small_classifier, small_images):
    for baseline, steps in ((0.0, 64), (small_images[::-1], 256)):
        start = np.broadcast_to(np.float32(baseline), small_images.shape)
        change = np.asarray(small_classifier(small_images) - small_classifier(start))
        targets = np.argmax(np.abs(change), axis=1).astype(np.int32)
        maps = run(
            gradients.integrated_gradients,
            small_classifier,
            small_images,
            targets,
            steps=steps,
            baseline=baseline,
            chunk=64,
        )
        np.testing.assert_allclose(maps.sum((1, 2)), change[np.arange(4), targets], rtol=0.01)


def test_expected_gradients_add_up_to_the_change_from_the_mean_baseline(small_classifier, small_images, small_targets):
    baselines = GENERATOR.random((5, 16, 16, 2), np.float32)
    maps = run(
        gradients.expected_gradients,
        small_classifier,
        small_images,
        small_targets,
        baselines=baselines,
        samples=512,
        chunk=512,
    )
    change = np.asarray(small_classifier(small_images) - small_classifier(baselines).mean(0, keepdims=True))
    change = change[np.arange(4), small_targets]
    np.testing.assert_allclose(maps.sum((1, 2)), change, atol=0.1 * np.abs(change).max())


def test_expected_gradients_ask_for_baselines():
    with pytest.raises(InputError, match="no baselines"):
        gradients.expected_gradients(linear, IMAGES, TARGETS, KEY)


def test_rectifiers_pass_what_their_papers_say():
    inputs = np.array([-1, 2, -3, 4], np.float32)
    cotangent = np.array([5, 6, -7, -8], np.float32)
    for rectifier, expected in ((gradients.guided_relu, [0, 6, 0, 0]), (gradients.deconv_relu, [5, 6, 0, 0])):
        outputs, pull = jax.vjp(rectifier, inputs)
        np.testing.assert_array_equal(outputs, [0, 2, 0, 4])
        np.testing.assert_array_equal(pull(cotangent)[0], expected)


def test_rectified_gradients_refuse_what_has_no_relu(small_classifier, small_images, small_targets):
    leaky = small_classifier.with_activation(nn.leaky_relu)
    for method in (gradients.guided_backprop, gradients.deconvnet):
        with pytest.raises(InputError, match="activation is leaky_relu, expected relu"):
            method(leaky, small_images, small_targets, KEY)
        with pytest.raises(TypeError, match=method.__name__):
            method(linear, IMAGES, TARGETS, KEY)
