import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from btjax.nn.transposed import ConvTranspose


@pytest.mark.parametrize(("dtype", "use_bias"), [(None, True), ("float32", False), ("bfloat16", True)])
def test_it_stands_in_for_flaxs_layer(dtype, use_bias):
    settings = {"features": 5, "kernel_size": (3, 3), "strides": (2, 2), "use_bias": use_bias, "dtype": dtype}
    settings |= {"bias_init": nn.initializers.normal()}
    inputs = jax.random.normal(jax.random.key(0), (2, 4, 6, 3))
    ours, theirs = ConvTranspose(**settings), nn.ConvTranspose(**settings)
    variables = ours.init(jax.random.key(1), inputs)
    jax.tree.map(np.testing.assert_array_equal, variables, theirs.init(jax.random.key(1), inputs))
    found, expected = (jax.jit(layer.apply)(variables, inputs) for layer in (ours, theirs))
    assert found.shape == (2, 8, 12, 5)
    assert found.dtype == expected.dtype == jnp.dtype(dtype or "float32")
    np.testing.assert_allclose(found.astype(jnp.float32), expected.astype(jnp.float32), rtol=1e-2, atol=1e-6)
