"""Checksums of trees of arrays: what is kept is compared with what was saved before it is used."""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_PART = 16 << 20  # bytes that one thread hashes at a time: of a large network one leaf alone is most


def leaf_name(path: Any) -> str:
    """The name of a leaf: the keys that lead to it, such as params/conv_0/kernel."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def leaf_digests(tree: Any) -> dict[str, str]:
    """SHA-256 of every leaf of a tree, by its name: of its type, its shape and its bytes.

    The bytes are hashed in parts, several at once; the digest is that of the parts' digests.

    Args:
      tree: a pytree of arrays that this process sees whole; a random key counts as its integers.

    Example:
      >>> one, other = (leaf_digests({"a": jnp.array(values)}) for values in ([1.0, 2.0], [1.0, 2.5]))
      >>> list(one), one == leaf_digests({"a": np.array([1, 2], np.float32)}), one == other
      (['a'], True, False)
    """
    arrays = {leaf_name(path): _bytes_of(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    digests = {}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        parts = {
            name: [threads.submit(_digest, data[first : first + _PART]) for first in range(0, len(data), _PART)]
            for name, (_, data) in arrays.items()
        }
        for name, (about, _) in arrays.items():
            digest = hashlib.sha256(about.encode())
            for part in parts[name]:
                digest.update(part.result())
            digests[name] = digest.hexdigest()
    return digests


def bytes_digest(data: memoryview) -> bytes:
    """SHA-256 of the digests of the parts of some bytes, several hashed at once."""
    parts = [data[first : first + _PART] for first in range(0, len(data), _PART)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        return hashlib.sha256(b"".join(threads.map(_digest, parts))).digest()


def content_digest(tree: Any) -> str:
    """64 hexadecimal digits of a tree's leaves: their names, types, shapes and bytes."""
    return hashlib.sha256(repr(sorted(leaf_digests(tree).items())).encode()).hexdigest()


def _digest(data: memoryview) -> bytes:
    return hashlib.sha256(data).digest()


def _bytes_of(leaf: Any) -> tuple[str, memoryview]:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.ascontiguousarray(leaf)
    return f"{array.dtype} {np.shape(leaf)}", array.reshape(-1).view(np.uint8).data
