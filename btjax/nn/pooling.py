"""Max pooling over blocks that do not overlap."""

import functools

import jax
import jax.numpy as jnp


def max_pool(x: jax.Array, window: int = 2) -> jax.Array:
    """The largest value of every `window` x `window` block; rows and columns that fill no block are left out.

    The gradient goes to the first of equal largest values (row by row), as in `jax.lax.reduce_window`, PyTorch and
    Keras: after ReLU, and in the black around a head, ties are common, and a saliency map must not depend on the
    library. `jnp.max` over a reshape would share it out equally. The backward pass reads one byte for each block;
    forward mode (`jax.jvp`) does not pass through.

    Args:
      x: float [N, H, W, C].
      window: block size and stride in pixels, at most 16.

    Returns:
      float [N, H // window, W // window, C], as Flax's `max_pool(x, (window,) * 2, (window,) * 2)`.

    Raises:
      ValueError: a window below 1 or above 16.
    """
    if not 1 <= window <= 16:
        raise ValueError(f"window must be from 1 to 16, got {window}")
    height, width = (size // window * window for size in x.shape[1:3])
    return _max_pool(x[:, :height, :width], window)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x, window):
    return _largest(x, window)[0]


def _max_pool_forward(x, window):
    return _largest(x, window)


def _max_pool_backward(window, place, cotangent):
    n, rows, columns, channels = cotangent.shape
    places = jnp.arange(window * window, dtype=jnp.uint8).reshape(1, 1, window, 1, window, 1)
    chosen = place[:, :, None, :, None, :] == places
    blocks = jnp.where(chosen, cotangent[:, :, None, :, None, :], jnp.zeros((), cotangent.dtype))
    return (blocks.reshape(n, rows * window, columns * window, channels),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _largest(x, window):
    """The largest value of each block and the uint8 place of the first of them, 0 to window * window - 1."""
    n, height, width, channels = x.shape
    rows, columns = height // window, width // window
    blocks = x.reshape(n, rows, window, columns, window, channels)
    largest, place = blocks[:, :, 0, :, 0], jnp.zeros((n, rows, columns, channels), jnp.uint8)
    for index in range(1, window * window):
        value = blocks[:, :, index // window, :, index % window]
        # A NaN is larger than everything, as in reduce_window: it must not vanish in pooling.
        better = (value > largest) | (jnp.isnan(value) & ~jnp.isnan(largest))
        largest = jnp.where(better, value, largest)
        place = jnp.where(better, jnp.uint8(index), place)
    return largest, place
