import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.data.bits import pack_masks, unpack_masks


@pytest.mark.parametrize("size", [1, 3, 8, 13])
def test_packed_masks_come_back_on_host_and_device(size):
    masks = np.random.default_rng(size).random((5, size, size)) < 0.4
    bits = pack_masks(masks)
    assert bits.dtype == np.uint8 and bits.shape == (5, -(-size * size // 8))
    np.testing.assert_array_equal(unpack_masks(bits, size), masks)
    on_device = jax.jit(unpack_masks, static_argnums=1)(jnp.asarray(bits), size)
    assert on_device.dtype == bool
    np.testing.assert_array_equal(on_device, masks)
