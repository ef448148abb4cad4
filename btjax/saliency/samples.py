"""Loops over many versions of the same images: noisy, masked, or between a baseline and the image.

A pass of the loop takes as many versions at once as fit in `chunk` images, so memory does not grow with their number
and few images still fill the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 16
"""Images of one pass by default; a larger batch is taken whole."""


def image_keys(key: jax.Array, images: int) -> jax.Array:
    """A random key for each image, [B]: `key` itself if it already is one for each, else made from the one key."""
    return key if key.ndim else jax.random.split(key, images)


def mean_over_samples(
    measure: Callable[..., Any], sample: Callable[[jax.Array], tuple], samples: int, images: int, chunk: int
) -> Any:
    """The mean of `measure(*sample(index))` over index 0 to samples - 1.

    Args:
      measure: from the arrays of `sample`, those of a pass in a row, [n * B, ...], to a pytree of [n * B, ...].
      sample: from an int32 scalar to a tuple of arrays [B, ...].
      samples: how many samples, at least 1.
      images: B.
      chunk: the most images in one pass, unless B is larger.

    Returns:
      The pytree of `measure`, [B, ...].
    """
    indices, one_pass = _passes(measure, sample, samples, images, chunk)

    def add(total, indices):
        return jax.tree.map(lambda total, values: total + values.sum(0), total, one_pass(indices)), None

    shapes = jax.eval_shape(one_pass, indices[0])
    total, _ = lax.scan(add, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), shapes), indices)
    return jax.tree.map(lambda total: total / samples, total)


def each_sample(
    measure: Callable[..., Any], sample: Callable[[jax.Array], tuple], samples: int, images: int, chunk: int
) -> Any:
    """`measure(*sample(index))` for index 0 to samples - 1, stacked: [samples, B, ...]; see `mean_over_samples`."""
    indices, one_pass = _passes(measure, sample, samples, images, chunk)
    values = lax.map(one_pass, indices)
    return jax.tree.map(lambda leaf: leaf.reshape(samples, *leaf.shape[2:]), values)


def _passes(measure, sample, samples, images, chunk):
    """The indices of each pass [passes, n], and the function from those of one pass to the values [n, B, ...]."""
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    together = next(n for n in range(max(1, min(samples, chunk // images)), 0, -1) if samples % n == 0)

    def one_pass(indices):
        arrays = jax.vmap(sample)(indices)
        values = measure(*jax.tree.map(lambda leaf: leaf.reshape(together * images, *leaf.shape[2:]), arrays))
        return jax.tree.map(lambda leaf: leaf.reshape(together, images, *leaf.shape[1:]), values)

    return jnp.arange(samples, dtype=jnp.int32).reshape(-1, together), one_pass
