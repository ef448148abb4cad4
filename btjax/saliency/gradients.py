"""Saliency from gradients: of one image, of noisy copies of it, and along a line from a baseline.

Every method is `attribute(logits, images, targets, key, *, options) -> maps`: logits a function from float32
[B, S, S, C] to [B, classes]; images its inputs; targets int32 [B], whose logit is explained; key a random key, or one
for each image [B], which the deterministic methods ignore; maps float32 [B, S, S], not normalised.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.saliency.classifier import Logits, as_baseline, require_classifier, target_scores
from btjax.saliency.samples import CHUNK, image_keys, mean_over_samples


def input_gradient(logits: Logits, images: jax.Array, targets: jax.Array) -> jax.Array:
    """The gradient of each image's target logit by its inputs, [B, S, S, C], signed."""
    return jax.grad(lambda inputs: jnp.sum(target_scores(logits(inputs), targets)))(images)


def gradient(logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array) -> jax.Array:
    """The magnitude over channels (L2 norm) of the input gradient, at least 0: Simonyan et al. 2014; paper, 4.1.2."""
    return _magnitude(input_gradient(logits, images, targets))


def gradient_times_input(logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array) -> jax.Array:
    """The input gradient times the input, summed over channels, signed: Shrikumar et al. 2016."""
    return jnp.sum(input_gradient(logits, images, targets) * images, axis=-1)


def smooth_grad(
    logits: Logits,
    images: jax.Array,
    targets: jax.Array,
    key: jax.Array,
    *,
    samples: int = 32,
    noise: float = 0.15,
    chunk: int = CHUNK,
) -> jax.Array:
    """SmoothGrad: the magnitude over channels of the mean input gradient of noisy copies (Smilkov et al. 2017).

    Args:
      logits, images, targets, key: see the module.
      samples: noisy copies of each image.
      noise: standard deviation of the Gaussian noise, as a share of each image's range (its maximum less its minimum).
      chunk: images of one pass.

    Returns:
      float32 [B, S, S], at least 0; without noise, `gradient`.
    """
    measure = functools.partial(input_gradient, logits)
    sample = _noisy(images, targets, key, noise)
    return _magnitude(mean_over_samples(measure, sample, samples, len(images), chunk))


def smooth_grad_squared(
    logits: Logits,
    images: jax.Array,
    targets: jax.Array,
    key: jax.Array,
    *,
    samples: int = 32,
    noise: float = 0.15,
    chunk: int = CHUNK,
) -> jax.Array:
    """SmoothGrad-squared: the mean squared input gradient, summed over channels, at least 0 (Hooker et al. 2019).

    Arguments as of `smooth_grad`.
    """

    def measure(inputs, targets):
        return jnp.sum(jnp.square(input_gradient(logits, inputs, targets)), axis=-1)

    return mean_over_samples(measure, _noisy(images, targets, key, noise), samples, len(images), chunk)


def var_grad(
    logits: Logits,
    images: jax.Array,
    targets: jax.Array,
    key: jax.Array,
    *,
    samples: int = 32,
    noise: float = 0.15,
    chunk: int = CHUNK,
) -> jax.Array:
    """VarGrad: the variance of the input gradient over noisy copies, summed over channels (Adebayo et al. 2018).

    Arguments as of `smooth_grad`. The variance is about the samples' own mean, divided by their number.
    """
    # Variances do not change when a constant is taken off; without the bulk, mean squares lose fewer digits.
    clean = input_gradient(logits, images, targets)
    sample = _noisy(images, targets, key, noise)

    def measure(inputs, targets, clean):
        difference = input_gradient(logits, inputs, targets) - clean
        return difference, jnp.square(difference)

    mean, mean_square = mean_over_samples(measure, lambda index: (*sample(index), clean), samples, len(images), chunk)
    return jnp.sum(jnp.maximum(mean_square - jnp.square(mean), 0), axis=-1)


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

    The integral over the line from the baseline to the image is taken by the midpoint rule. Completeness: a map's sum
    is the target logit of the image less that of the baseline, up to the rule's error.

    Args:
      logits, images, targets, key: see the module.
      steps: points of the rule.
      baseline: see `btjax.saliency.classifier.as_baseline`.
      chunk: images of one pass.
    """
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
      logits, images, targets, key: see the module.
      baselines: inputs of other images, as of the training set, [K, S, S, C].
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
            # A sample for each stretch of the line: as uniform as free draws, with less variance.
            share = (index.astype(image.dtype) + jax.random.uniform(place, (), image.dtype)) / samples
            return start + share * (image - start), image - start

        inputs, difference = jax.vmap(one)(keys, images)
        return inputs, targets, difference

    def measure(inputs, targets, difference):
        return jnp.sum(input_gradient(logits, inputs, targets) * difference, axis=-1)

    return mean_over_samples(measure, sample, samples, len(images), chunk)


@jax.custom_vjp
def guided_relu(x: jax.Array) -> jax.Array:
    """ReLU whose gradient passes where both the input and the gradient are above 0 (Springenberg et al. 2015)."""
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
    return _rectified(logits, images, targets, guided_relu, "guided_backprop")


def deconvnet(logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array) -> jax.Array:
    """Deconvolution: the input gradient through `deconv_relu`, summed over channels, signed.

    `logits` must be a `Classifier` (TypeError) whose activation is ReLU (InputError).
    """
    return _rectified(logits, images, targets, deconv_relu, "deconvnet")


def _rectified(logits, images, targets, activation, method):
    classifier = require_classifier(logits, method)
    if classifier.model.activation is not nn.relu:
        found = getattr(classifier.model.activation, "__name__", repr(classifier.model.activation))
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
