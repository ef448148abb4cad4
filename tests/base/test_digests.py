"""Checksums of trees of arrays."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.base import digests
from btjax.base.digests import content_digest, leaf_digests


def test_the_digest_of_a_leaf_is_sha256_of_its_type_shape_and_bytes():
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    part = hashlib.sha256(values.tobytes()).digest()
    expected = hashlib.sha256(b"float32 (2, 3)" + part).hexdigest()
    assert leaf_digests({"a": {"b": jnp.asarray(values)}}) == {"a/b": expected}


@pytest.mark.parametrize("byte", range(12))
def test_every_bit_counts_across_the_parts(monkeypatch, byte):
    monkeypatch.setattr(digests, "_PART", 5)
    values = np.arange(3, dtype=np.float32)
    found = {leaf_digests([values])["0"]}
    for bit in range(8):
        changed = values.copy()
        changed.view(np.uint8)[byte] ^= 1 << bit
        found.add(leaf_digests([changed])["0"])
    assert len(found) == 9


def test_types_shapes_and_names_count_and_the_order_of_names_does_not():
    one = {"a": jnp.zeros(4), "b": jnp.ones(2)}
    others = [one | {"a": jnp.zeros((2, 2))}, one | {"a": jnp.zeros(4, jnp.int32)}, {"a": one["a"], "c": one["b"]}]
    assert len({content_digest(tree) for tree in (one, *others)}) == 4
    assert content_digest(dict(reversed(one.items()))) == content_digest(one)


def test_random_keys_scalars_and_empty_arrays_have_digests():
    tree = {
        "key": jax.random.key(3),
        "one": jnp.float32(1),
        "none": np.zeros((0, 3)),
        "half": jnp.ones(3, jnp.bfloat16),
    }
    assert len(set(leaf_digests(tree).values())) == 4
    assert leaf_digests({"key": jax.random.key(3)}) != leaf_digests({"key": jax.random.key(4)})
