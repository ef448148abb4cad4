"""Random keys by purpose and step, so that no two parts of a run share randomness and none depends on order."""

from __future__ import annotations

import zlib

import jax


def random_key(root: jax.Array, name: str, step: jax.Array | int = 0) -> jax.Array:
    """The random key for a purpose at a step: the same root, name and step always give the same key.

    Args:
      root: the run's root key.
      name: what the key is for, such as "dropout".
      step: int32, the step or epoch.

    Returns:
      A random key.

    Example:
      >>> root = jax.random.key(0)
      >>> bool(random_key(root, "dropout", 1) == random_key(root, "dropout", 1))
      True
    """
    return jax.random.fold_in(jax.random.fold_in(root, zlib.crc32(name.encode()) & 0x7FFFFFFF), step)
