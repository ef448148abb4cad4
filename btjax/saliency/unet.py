"""The paper's own saliency map: what the final U-Net, whose encoder was trained to classify, makes of an image.

Both functions give an attribution of the one signature; what they need of the classifier is inside the composed model,
so that `logits` and `targets` decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Attribute = Callable[..., jax.Array]


def final_output(model, final: dict[str, Any]) -> Attribute:
    """The final model's output as a map: the mean over channels, as it is.

    Args:
      model: a `UNet`.
      final: variables of the final model (`btjax.models.compose.compose_final`).

    Returns:
      attribute(logits, images, targets, key) -> float32 [B, S, S].
    """

    def attribute(logits, images: jax.Array, targets: jax.Array, key: jax.Array) -> jax.Array:
        del logits, targets, key
        return model.apply(final, images).mean(axis=-1)

    return attribute


def output_difference(model, final: dict[str, Any], autoencoder: dict[str, Any]) -> Attribute:
    """How far the final model's output is from the autoencoder's: the mean over channels of the absolute difference.

    Args:
      model: a `UNet`.
      final: variables of the final model.
      autoencoder: variables of the autoencoder that it was composed from.

    Returns:
      attribute(logits, images, targets, key) -> float32 [B, S, S], not negative.
    """

    def attribute(logits, images: jax.Array, targets: jax.Array, key: jax.Array) -> jax.Array:
        del logits, targets, key
        return jnp.abs(model.apply(final, images) - model.apply(autoencoder, images)).mean(axis=-1)

    return attribute
