"""Max pooling over non-overlapping blocks."""

import functools

import jax
import jax.numpy as jnp

from btjax.nn.portable import is_portable


def max_pool(x: jax.Array, window: int = 2) -> jax.Array:
    """The largest value of every `window` x `window` block; rows and columns left over at the end are dropped.

    On a tie the whole gradient goes to the first of the largest values, row by row, as in `jax.lax.reduce_window`,
    PyTorch and Keras. `jnp.max` over a reshape would divide it equally. Ties are common after ReLU and in the black
    background of a scan, and a saliency map should not depend on the library. The backward pass needs one byte per
    block. Forward mode (`jax.jvp`) is not supported.

    Args:
      x: float [N, H, W, C].
      window: side of a block, and stride, in pixels, 1 to 16.

    Returns:
      float [N, H // window, W // window, C], equal to Flax's `max_pool(x, (window,) * 2, (window,) * 2)`.

    Raises:
      ValueError: a window below 1 or above 16.

    Example:
      >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
      [[5.0, 7.0], [13.0, 15.0]]
    """
    if not 1 <= window <= 16:
        raise ValueError(f"window must be from 1 to 16, got {window}")
    height, width = (size // window * window for size in x.shape[1:3])
    if is_portable():
        # Exporters turn `reduce_window` into poolings of padded windows that some runtimes refuse.
        blocks = (x.shape[0], height // window, window, width // window, window, x.shape[3])
        return x[:, :height, :width].reshape(blocks).max(axis=(2, 4))
    return _max_pool(x[:, :height, :width], window)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x: jax.Array, window: int) -> jax.Array:
    return _largest(x, window)[0]


def _max_pool_forward(x: jax.Array, window: int) -> tuple[jax.Array, jax.Array]:
    return _largest(x, window)


def _max_pool_backward(window: int, position: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    n, rows, columns, channels = cotangent.shape
    positions = jnp.arange(window * window, dtype=jnp.uint8).reshape(1, 1, window, 1, window, 1)
    chosen = position[:, :, None, :, None, :] == positions
    blocks = jnp.where(chosen, cotangent[:, :, None, :, None, :], jnp.zeros((), cotangent.dtype))
    return (blocks.reshape(n, rows * window, columns * window, channels),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _largest(x: jax.Array, window: int) -> tuple[jax.Array, jax.Array]:
    """The largest value of each block, and the position of its first occurrence: uint8, 0 to window * window - 1."""
    n, height, width, channels = x.shape
    rows, columns = height // window, width // window
    blocks = x.reshape(n, rows, window, columns, window, channels)
    largest, position = blocks[:, :, 0, :, 0], jnp.zeros((n, rows, columns, channels), jnp.uint8)
    for index in range(1, window * window):
        value = blocks[:, :, index // window, :, index % window]
        # NaN counts as the largest value, as in reduce_window, so that pooling does not hide it.
        better = (value > largest) | (jnp.isnan(value) & ~jnp.isnan(largest))
        largest = jnp.where(better, value, largest)
        position = jnp.where(better, jnp.uint8(index), position)
    return largest, position
