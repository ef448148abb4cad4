"""Explanation-guided training: a classifier is told where its saliency map should lie.

The loss of a slice gets a term: the share of the map of the true class that lies outside the tumour's dilated mask. The
idea is that of Ross, Hughes and Doshi-Velez, "Right for the right reasons", IJCAI 2017, who punish gradients outside a
region, here scale-free, so that small gradients do not pass for good ones.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from collections.abc import Callable

MAPS = ("grad_cam", "gradient")
"""The maps that can guide: both are differentiable with respect to the network's parameters."""

TINY = 1e-20
"""Added to a map's sum: of a blank map no share lies inside."""


@dataclasses.dataclass(frozen=True)
class Guidance:
    """How much a map outside the tumour costs.

    Attributes:
      weight: of the term in the loss.
      method: of `MAPS`. Grad-CAM's stage is `Classifier.map_layer`, as everywhere in btjax.
      radius: pixels by which the mask is dilated, as a square.
    """

    weight: float
    method: str = "grad_cam"
    radius: int = 4

    def __call__(self, maps: jax.Array, masks: jax.Array) -> jax.Array:
        """The term of each slice, float32 [B] in [0, weight]; 0 where the mask is empty.

        Args:
          maps: float [B, h, w], at least 0.
          masks: bool [B, S, S], S a multiple of h and w.
        """
        return self.weight * jnp.where(masks.any(axis=(1, 2)), outside_share(maps, dilated(masks, self.radius)), 0)

    def map_of(self, values: jax.Array, gradients: jax.Array) -> jax.Array:
        """The map, float [B, h, w], at least 0, of a stage's map (or the inputs) and the logit's gradient there."""
        if self.method == "grad_cam":
            return jax.nn.relu(jnp.sum(gradients.mean((1, 2), keepdims=True) * values, axis=-1))
        return jnp.abs(gradients).max(axis=-1)


def outside_share(maps: jax.Array, regions: jax.Array) -> jax.Array:
    """The share of each map outside its region, float32 [B] in [0, 1]; 1 for a blank map, which is no way out.

    Args:
      maps: float [B, h, w], at least 0.
      regions: bool [B, S, S]; a place of the map is inside if any of the pixels that it covers is.

    Example:
      >>> region = jnp.zeros((1, 4, 4), bool).at[0, 0, 0].set(True)
      >>> outside_share(jnp.array([[[3.0, 1.0], [0.0, 0.0]]]), region).tolist()
      [0.25]
      >>> outside_share(jnp.zeros((1, 2, 2)), region).tolist()
      [1.0]
    """
    count, height, width = maps.shape
    size = regions.shape[1]
    blocks = regions.reshape(count, height, size // height, width, size // width)
    inside = jnp.sum(maps * blocks.any(axis=(2, 4)), axis=(1, 2))
    return 1 - inside / (jnp.sum(maps, axis=(1, 2)) + TINY)


def dilated(masks: jax.Array, radius: int) -> jax.Array:
    """Masks bool [B, S, S] dilated by a square of `radius` pixels each way."""
    if not radius:
        return masks
    side = 2 * radius + 1
    return lax.reduce_window(masks, False, lax.bitwise_or, (1, side, side), (1, 1, 1), "SAME")


def score_gradient(
    rest: Callable[[jax.Array], tuple[jax.Array, Any]], values: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array, Any]:
    """The gradient of the true class's logit with respect to a map, and what the rest of the network gives.

    Args:
      rest: from the map to logits [B, classes] and anything else.
      values: float [B, ...], the map.
      labels: int32 [B].

    Returns:
      The gradient, of the shape of `values`; the logits; and the rest's second result.
    """

    def score(values: jax.Array) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        logits, beside = rest(values)
        return jnp.sum(jnp.take_along_axis(logits, labels[:, None], axis=1)), (logits, beside)

    gradients, (logits, beside) = jax.grad(score, has_aux=True)(values)
    return gradients, logits, beside
