"""Explanation-guided training: a classifier is told where its saliency map should lie.

The loss of a slice gets a term: the share of the map of the true class that lies outside the tumour's dilated mask. The
idea is that of Ross, Hughes and Doshi-Velez, "Right for the right reasons", IJCAI 2017, who punish gradients outside a
region, here scale-free, so that small gradients do not pass for good ones. Places that speak against the class count a
little, as in a leaky ReLU: else a map without a positive place, or with none in the tumour, would have no gradient, and
just those slices would never be guided.
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

LEAK = 0.05
"""What a place that speaks against the class counts, beside one that speaks as much for it."""


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
        """The term of each slice, float32 [B] in [0, 2 * weight]; 0 where the mask is empty.

        Args:
          maps: float [B, h, w], of `map_of`.
          masks: bool [B, S, S].
        """
        return self.weight * jnp.where(masks.any(axis=(1, 2)), outside_share(maps, dilated(masks, self.radius)), 0)

    def map_of(self, values: jax.Array, gradients: jax.Array) -> jax.Array:
        """The map, float [B, h, w], of a stage's map (or the inputs) and the logit's gradient there.

        Grad-CAM before its ReLU: places below 0 speak against the class. Of the gradient of the pixels, the magnitude.
        """
        if self.method == "grad_cam":
            return jnp.sum(gradients.mean((1, 2), keepdims=True) * values, axis=-1)
        return jnp.abs(gradients).max(axis=-1)


def outside_share(maps: jax.Array, regions: jax.Array) -> jax.Array:
    """The share of each map outside its region, float32 [B].

    With w = leaky_relu(map) it is 1 - sum of w inside / sum of |w|, in [0, 2]: in [0, 1] for a map without places below
    0; 1 for a blank one, so that a network cannot lower the loss by blank maps; in [1, 2] for a map without a place
    above 0. It does not change with the map's scale, and its gradient is finite.

    Args:
      maps: float [B, h, w].
      regions: bool [B, S, S]; a place of the map is inside if any of the pixels that it covers is.

    Example:
      >>> region = jnp.zeros((1, 4, 4), bool).at[0, 0, 0].set(True)
      >>> outside_share(jnp.array([[[3.0, 1.0], [0.0, 0.0]]]), region).tolist()
      [0.25]
      >>> outside_share(jnp.zeros((1, 2, 2)), region).tolist()
      [1.0]
    """
    largest = lax.stop_gradient(jnp.abs(maps).max(axis=(1, 2), keepdims=True))
    values = jax.nn.leaky_relu(maps / jnp.where(largest > 0, largest, 1), LEAK)
    inside = jnp.sum(values * covered(regions, (maps.shape[1], maps.shape[2])), axis=(1, 2))
    whole = jnp.sum(jnp.abs(values), axis=(1, 2))
    return 1 - inside / jnp.where(whole > 0, whole, 1)


def covered(regions: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Regions bool [B, S, S] at a map's size, bool [B, h, w]: pixel i lies in row i * h // S."""
    size = regions.shape[1]
    rows, columns = (jax.nn.one_hot(jnp.arange(size) * side // size, side) for side in shape)
    return jnp.einsum("ih,bij,jw->bhw", rows, regions.astype(jnp.float32), columns) > 0


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
