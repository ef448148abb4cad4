"""Saliency from gradients: of one image, of noisy copies of it, and along a line from a baseline.

Every method is `attribute(logits, images, targets, key, *, options) -> maps`. `logits` is a function from float32
[B, S, S, C] to [B, classes]; images are its inputs; targets int32 [B] are the classes whose logits are explained; key
is a random key, or one for each image [B], which deterministic methods do not use; the maps are float32 [B, S, S], not
normalised.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.saliency.classifier import Logits, require_classifier, target_scores
from btjax.saliency.inputs import as_baseline
from btjax.saliency.samples import CHUNK, image_keys, mean_over_samples


def input_gradient(logits: Logits, images: jax.Array, targets: jax.Array) -> jax.Array:
    """The gradient of each image's target logit with respect to its inputs, [B, S, S, C], signed."""
    return jax.grad(lambda inputs: jnp.sum(target_scores(logits(inputs), targets)))(images)


def gradient(logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array) -> jax.Array:
    """The magnitude over channels (L2 norm) of the input gradient, at least 0: Simonyan et al. 2014; paper, 4.1.2."""
    del key
    return _magnitude(input_gradient(logits, images, targets))


def gradient_times_input(logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array) -> jax.Array:
    """The input gradient times the input, summed over channels, signed: Shrikumar et al. 2016."""
    del key
    return jnp.sum(input_gradient(logits, images, targets) * images, axis=-1)


def noisy_gradients(
    logits: Logits,
    images: jax.Array,
    targets: jax.Array,
    key: jax.Array,
    *,
    samples: int = 32,
    noise: float = 0.15,
    chunk: int = CHUNK,
) -> dict[str, jax.Array]:
    """SmoothGrad, its square and VarGrad of the same noisy copies, for the passes of one.

    Args:
      logits: float32 [B, S, S, C] -> float32 [B, classes].
      images: float32 [B, S, S, C].
      targets: int32 [B].
      key: of the noise, one or [B].
      samples: noisy copies of each image.
      noise: standard deviation of the Gaussian noise, as a share of each image's range (maximum less minimum).
      chunk: images of one pass.

    Returns:
      The maps by their methods' names, float32 [B, S, S], at least 0.
    """
    # Subtracting a constant does not change a variance, and the mean squares then lose fewer digits.
    clean = input_gradient(logits, images, targets)
    sample = _noisy(images, targets, key, noise)

    def measure(inputs, targets, clean):
        difference = input_gradient(logits, inputs, targets) - clean
        return difference, jnp.square(difference)

    found = mean_over_samples(measure, lambda index: (*sample(index), clean), samples, len(images), chunk)
    mean, variance = clean + found[0], jnp.maximum(found[1] - jnp.square(found[0]), 0)
    return {
        "smooth_grad": _magnitude(mean),
        "smooth_grad_squared": jnp.sum(jnp.square(mean) + variance, axis=-1),
        "var_grad": jnp.sum(variance, axis=-1),
    }


def smooth_grad(logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array, **options: Any) -> jax.Array:
    """SmoothGrad: the magnitude over channels of the mean input gradient of noisy copies (Smilkov et al. 2017).

    Arguments as in `noisy_gradients`; without noise, `gradient`.
    """
    return noisy_gradients(logits, images, targets, key, **options)["smooth_grad"]


def smooth_grad_squared(
    logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array, **options: Any
) -> jax.Array:
    """The mean squared input gradient of noisy copies, summed over channels, at least 0 (Hooker et al. 2019).

    Arguments as in `noisy_gradients`.
    """
    return noisy_gradients(logits, images, targets, key, **options)["smooth_grad_squared"]


def var_grad(logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array, **options: Any) -> jax.Array:
    """VarGrad: the variance of the input gradient over noisy copies, summed over channels (Adebayo et al. 2018).

    Arguments as in `noisy_gradients`. The variance is about the samples' mean, divided by their number.
    """
    return noisy_gradients(logits, images, targets, key, **options)["var_grad"]


def integrated_gradients(
    logits: Logits,
    images: jax.Array,
    targets: jax.Array,
    key: jax.Array,
    *,
    steps: int = 32,
    baseline: jax.Array | float = 0.0,
    chunk: int = CHUNK,
) -> jax.Array:
    """Integrated gradients, summed over channels, signed (Sundararajan et al. 2017).

    The gradient is integrated along the line from the baseline to the image by the midpoint rule. Completeness: a map's
    sum is the target logit of the image less that of the baseline, up to the rule's error.

    Args:
      logits: float32 [B, S, S, C] -> float32 [B, classes].
      images: float32 [B, S, S, C].
      targets: int32 [B].
      key: not used.
      steps: points of the midpoint rule.
      baseline: see `btjax.saliency.inputs.as_baseline`.
      chunk: images of one pass.
    """
    del key
    start = as_baseline(baseline, images)
    difference = images - start

    def sample(index):
        return start + (index.astype(images.dtype) + 0.5) / steps * difference, targets

    mean = mean_over_samples(functools.partial(input_gradient, logits), sample, steps, len(images), chunk)
    return jnp.sum(difference * mean, axis=-1)


def expected_gradients(
    logits: Logits,
    images: jax.Array,
    targets: jax.Array,
    key: jax.Array,
    *,
    baselines: jax.Array | None = None,
    samples: int = 64,
    chunk: int = CHUNK,
) -> jax.Array:
    """Expected gradients, summed over channels, signed (Erion et al. 2021).

    Integrated gradients averaged over baselines: each sample draws a baseline and a point on the line from it. A map's
    sum is, in expectation, the target logit less its mean over the baselines.

    Args:
      logits: float32 [B, S, S, C] -> float32 [B, classes].
      images: float32 [B, S, S, C].
      targets: int32 [B].
      key: of the draws, one or [B].
      baselines: the network's inputs of other images, such as training images, float32 [K, S, S, C].
      samples: samples for each image.
      chunk: images of one pass.

    Raises:
      InputError: no baselines.
    """
    if baselines is None or not len(baselines):
        raise InputError("expected_gradients: found no baselines, expected the inputs of some other images")
    keys, baselines = image_keys(key, len(images)), jnp.asarray(baselines, images.dtype)

    def sample(index):
        def one(key, image):
            choice, place = jax.random.split(jax.random.fold_in(key, index))
            start = baselines[jax.random.randint(choice, (), 0, len(baselines))]
            # Stratified: one point in each stretch of the line, still uniform, with less variance.
            share = (index.astype(image.dtype) + jax.random.uniform(place, (), image.dtype)) / samples
            return start + share * (image - start), image - start

        inputs, difference = jax.vmap(one)(keys, images)
        return inputs, targets, difference

    def measure(inputs, targets, difference):
        return jnp.sum(input_gradient(logits, inputs, targets) * difference, axis=-1)

    return mean_over_samples(measure, sample, samples, len(images), chunk)


@jax.custom_vjp
def guided_relu(x: jax.Array) -> jax.Array:
    """ReLU whose gradient passes where the input and the gradient are both above 0 (Springenberg et al. 2015)."""
    return jnp.maximum(x, 0)


guided_relu.defvjp(
    lambda x: (jnp.maximum(x, 0), x > 0), lambda live, cotangent: (jnp.where(live, jnp.maximum(cotangent, 0), 0),)
)


@jax.custom_vjp
def deconv_relu(x: jax.Array) -> jax.Array:
    """ReLU whose gradient passes where the gradient is above 0, whatever the input (Zeiler & Fergus 2014)."""
    return jnp.maximum(x, 0)


deconv_relu.defvjp(lambda x: (jnp.maximum(x, 0), None), lambda _, cotangent: (jnp.maximum(cotangent, 0),))


def guided_backprop(logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array) -> jax.Array:
    """Guided backpropagation: the input gradient through `guided_relu`, summed over channels, signed.

    `logits` must be a `Classifier` (TypeError) whose activation is ReLU (InputError).
    """
    del key
    return _rectified(logits, images, targets, guided_relu, "guided_backprop")


def deconvnet(logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array) -> jax.Array:
    """Deconvolution: the input gradient through `deconv_relu`, summed over channels, signed.

    `logits` must be a `Classifier` (TypeError) whose activation is ReLU (InputError).
    """
    del key
    return _rectified(logits, images, targets, deconv_relu, "deconvnet")


def _rectified(logits, images, targets, activation, method):
    classifier = require_classifier(logits, method)
    rectifier = getattr(classifier.model, "activation", None)
    if rectifier is not nn.relu:
        found = getattr(rectifier, "__name__", repr(rectifier))
        raise InputError(f"{method}: the model's activation is {found}, expected relu")
    return jnp.sum(input_gradient(classifier.with_activation(activation), images, targets), axis=-1)


def _magnitude(values):
    return jnp.linalg.norm(values, axis=-1)


def _noisy(images, targets, key, noise):
    """The sampler of copies with Gaussian noise."""
    keys = image_keys(key, len(images))
    scale = noise * (images.max((1, 2, 3), keepdims=True) - images.min((1, 2, 3), keepdims=True))

    def sample(index):
        def normal(key):
            return jax.random.normal(jax.random.fold_in(key, index), images.shape[1:], images.dtype)

        return images + scale * jax.vmap(normal)(keys), targets

    return sample
