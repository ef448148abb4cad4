"""Masks as packed bits: an eighth of their size in files and on the device."""

from __future__ import annotations

from typing import overload

import jax
import jax.numpy as jnp
import numpy as np


def pack_masks(masks: np.ndarray) -> np.ndarray:
    """The bits of masks, row after row of pixels, the last byte filled up with zeros.

    Args:
      masks: bool [N, S, S].

    Returns:
      uint8 [N, ceil(S * S / 8)]; `unpack_masks` gives the masks back.

    Example:
      >>> pack_masks(np.eye(3, dtype=bool)[None]).tolist()
      [[136, 128]]
    """
    return np.packbits(masks.reshape(len(masks), -1), axis=1)


@overload
def unpack_masks(bits: np.ndarray, size: int) -> np.ndarray: ...
@overload
def unpack_masks(bits: jax.Array, size: int) -> jax.Array: ...
def unpack_masks(bits: np.ndarray | jax.Array, size: int) -> np.ndarray | jax.Array:
    """The masks of `pack_masks`: bool [N, size, size], on the host or, of a JAX array, on the device.

    Example:
      >>> unpack_masks(np.array([[136, 128]], np.uint8), 3)[0].astype(int).tolist()
      [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    """
    if isinstance(bits, np.ndarray):
        return np.unpackbits(bits, axis=1, count=size * size).reshape(len(bits), size, size).astype(bool)
    return jnp.unpackbits(bits, axis=1, count=size * size).reshape(len(bits), size, size).astype(bool)
