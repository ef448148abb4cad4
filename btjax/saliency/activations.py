"""Class activation maps: the channels of a stage's map, weighted by their effect on a class, enlarged to the image.

Every method is `attribute(logits, images, targets, key, *, layer=None) -> maps`. `logits` is a `Classifier` (TypeError
for a plain function); images are its inputs, float32 [B, S, S, C]; targets int32 [B]; the key is not used. `layer`
names a stage whose map is [B, h, w, K], by default `Classifier.map_layer`; where a stage's output is a tuple the map is
its first element, and the others are held fixed. The maps are float32 [B, S, S], enlarged bilinearly, not normalised.
An unknown stage, or one whose output is no map, is an InputError.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from btjax.base.errors import InputError
from btjax.saliency.classifier import Classifier, Logits, replace_map, require_classifier, stage_map, target_scores
from btjax.saliency.inputs import as_baseline
from btjax.saliency.samples import CHUNK, each_sample

PIXELS = "pixels"
"""The stage of a network that outlines tumours and classifies, whose map are class logits of pixels."""


def grad_cam(
    logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array, *, layer: str | None = None
) -> jax.Array:
    """Grad-CAM: ReLU of the sum of the channels, each times its mean gradient; at least 0 (Selvaraju et al. 2017).

    Before global average pooling and one dense layer it is the class activation map (Zhou et al. 2016) over h * w.
    """
    del key
    activations, gradients = _at_layer(logits, images, targets, layer, "grad_cam")
    weights = gradients.mean((1, 2), keepdims=True)
    return enlarge(jax.nn.relu(jnp.sum(weights * activations, axis=-1)), images)


def grad_cam_plus_plus(
    logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array, *, layer: str | None = None
) -> jax.Array:
    """Grad-CAM++: as Grad-CAM, with the positive gradients weighted pixel by pixel (Chattopadhay et al. 2018).

    A pixel's weight g^2 / (2 g^2 + sum(A) g^3) holds for the exponential of the logit, whose derivatives are powers of
    g times the exponential; that factor, one for each map, is left out.
    """
    del key
    activations, gradients = _at_layer(logits, images, targets, layer, "grad_cam_plus_plus")
    below = 2 * gradients**2 + activations.sum((1, 2), keepdims=True) * gradients**3
    alphas = jnp.where(below != 0, gradients**2 / jnp.where(below != 0, below, 1), 0)
    weights = jnp.sum(alphas * jax.nn.relu(gradients), (1, 2), keepdims=True)
    return enlarge(jax.nn.relu(jnp.sum(weights * activations, axis=-1)), images)


def layer_cam(
    logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array, *, layer: str | None = None
) -> jax.Array:
    """LayerCAM: activations times their positive gradients, summed over channels, at least 0 (Jiang et al. 2021)."""
    del key
    activations, gradients = _at_layer(logits, images, targets, layer, "layer_cam")
    return enlarge(jax.nn.relu(jnp.sum(jax.nn.relu(gradients) * activations, axis=-1)), images)


def hires_cam(
    logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array, *, layer: str | None = None
) -> jax.Array:
    """HiResCAM: activations times their gradients, summed over channels, signed (Draelos & Carin 2020)."""
    del key
    activations, gradients = _at_layer(logits, images, targets, layer, "hires_cam")
    return enlarge(jnp.sum(gradients * activations, axis=-1), images)


def score_cam(
    logits: Logits,
    images: jax.Array,
    targets: jax.Array,
    key: jax.Array,
    *,
    layer: str | None = None,
    channels: int = 0,
    baseline: jax.Array | float = 0.0,
    chunk: int = CHUNK,
) -> jax.Array:
    """Score-CAM: channels weighted by the logit of the image masked by each of them (Wang et al. 2020).

    A channel, enlarged and scaled to [0, 1], masks the image. The weights are the softmax over channels of the target
    logits less the baseline's; the maps are at least 0. It takes a forward pass for each channel and image.

    Args:
      logits: a `Classifier`.
      images: float32 [B, S, S, C].
      targets: int32 [B].
      key: not used.
      layer: see the module.
      channels: how many channels of each image are used, those with the largest variance over pixels; 0, or more than
        there are: all.
      baseline: what shows where the mask is 0: see `btjax.saliency.inputs.as_baseline`.
      chunk: images of one pass.
    """
    del key
    classifier = require_classifier(logits, "score_cam")
    output = classifier.below(_map_layer(classifier, images, layer), images)
    activations = stage_map(output).astype(images.dtype)
    if 0 < channels < activations.shape[-1]:
        _, chosen = jax.lax.top_k(activations.var((1, 2)), channels)
        activations = jnp.take_along_axis(activations, chosen[:, None, None], axis=-1)
    start = as_baseline(baseline, images)

    def sample(channel):
        mask = enlarge(jnp.take(activations, channel, axis=-1), images)
        low, high = mask.min((1, 2), keepdims=True), mask.max((1, 2), keepdims=True)
        mask = (mask - low) / jnp.where(high > low, high - low, 1)
        return start + mask[..., None] * (images - start), targets

    def measure(inputs, targets):
        return target_scores(classifier(inputs), targets)

    scores = each_sample(measure, sample, activations.shape[-1], len(images), chunk)
    # The baseline's logit is the same for every channel, so it cancels in the softmax.
    weights = jax.nn.softmax(scores, axis=0).T[:, None, None]
    return enlarge(jax.nn.relu(jnp.sum(weights * activations, axis=-1)), images)


def outline(logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array) -> jax.Array:
    """The network's own map: its probability that a pixel is tumour of the class, float32 [B, S, S] in [0, 1].

    Only of networks with a stage `PIXELS`, whose map are class logits of pixels, the background first; InputError for
    others.
    """
    del key
    classifier = require_classifier(logits, "outline")
    if PIXELS not in classifier.model.layers:
        raise InputError(f"{type(classifier.model).__name__}: has no stage {PIXELS!r}, which outlines tumours")
    shares = jax.nn.softmax(stage_map(classifier.below(PIXELS, images)))
    return enlarge(jnp.take_along_axis(shares, 1 + targets[:, None, None, None], axis=-1)[..., 0], images)


def enlarge(maps: jax.Array, images: jax.Array) -> jax.Array:
    """Maps [B, h, w] at the images' height and width, by bilinear interpolation between pixel centres."""
    return jax.image.resize(maps, images.shape[:3], "bilinear")


def _map_layer(classifier: Classifier, images: jax.Array, layer: str | None) -> str:
    if layer is None:
        return classifier.map_layer(images)
    shape = classifier.shape_of(layer, images)
    if len(shape) != 4:
        raise InputError(
            f"layer {layer!r}: its output is {list(shape)}, expected a map [batch, height, width, channels]"
        )
    return layer


def _at_layer(logits, images, targets, layer, method):
    """The stage's map and the gradient of the target logits with respect to it, both [B, h, w, K]."""
    classifier = require_classifier(logits, method)
    layer = _map_layer(classifier, images, layer)
    output = classifier.below(layer, images)

    def score(activations):
        return jnp.sum(target_scores(classifier.above(layer, replace_map(output, activations)), targets))

    activations = stage_map(output)
    return activations.astype(images.dtype), jax.grad(score)(activations).astype(images.dtype)
