"""Max pooling without overlap, as a reshape and a maximum."""

import jax.numpy as jnp


def max_pool(x, window: int = 2):
    """The largest value of every window x window block: [N, H, W, C] -> [N, H // window, W // window, C].

    Rows and columns that do not fill a block are left out, as in Keras's VALID pooling.
    """
    n, height, width, channels = x.shape
    rows, columns = height // window, width // window
    blocks = x[:, :rows * window, :columns * window, :].reshape(n, rows, window, columns, window, channels)
    return jnp.max(blocks, axis=(2, 4))
