"""The paper's own saliency map: the output of the final U-Net, whose encoder was trained to classify.

Both functions return an attribution with the common signature. The classifier's part is inside the composed model, so
`logits` and `targets` have no effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Attribute = Callable[..., jax.Array]


def final_output(model: Any, final: dict[str, Any]) -> Attribute:
    """The final model's output as a map: the mean over channels, unchanged.

    Args:
      model: a `UNet`.
      final: variables of the final model (`btjax.models.compose.compose_final`).

    Returns:
      attribute(logits, images, targets, key) -> float32 [B, S, S].
    """

    def attribute(logits: Any, images: jax.Array, targets: jax.Array, key: jax.Array) -> jax.Array:
        del logits, targets, key
        return model.apply(final, images).mean(axis=-1)

    return attribute


def output_difference(model: Any, final: dict[str, Any], autoencoder: dict[str, Any]) -> Attribute:
    """The difference between the final model's output and the autoencoder's: the mean over channels of its magnitude.

    Args:
      model: a `UNet`.
      final: variables of the final model.
      autoencoder: variables of the autoencoder that it was composed from.

    Returns:
      attribute(logits, images, targets, key) -> float32 [B, S, S], at least 0.
    """

    def attribute(logits: Any, images: jax.Array, targets: jax.Array, key: jax.Array) -> jax.Array:
        del logits, targets, key
        return jnp.abs(model.apply(final, images) - model.apply(autoencoder, images)).mean(axis=-1)

    return attribute
