"""Max pooling equals Flax's, in value and in gradient, with ties and with odd sizes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from btjax.nn.pooling import max_pool


def value_and_gradient(pool, x):
    @jax.jit
    def run(x):
        output, pull_back = jax.vjp(pool, x)
        weights = jnp.cos(jnp.arange(output.size, dtype=jnp.float32)).astype(x.dtype)
        return output, *pull_back(weights.reshape(output.shape))

    return run(x)


@settings(max_examples=10, deadline=None, derandomize=True, phases=(Phase.generate,))
@given(
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    window=st.sampled_from([2, 3]),
    ties=st.booleans(),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
)
def test_value_and_gradient_equal_flax_with_odd_sizes_and_ties(height, width, window, ties, dtype):
    x = np.random.default_rng(0).normal(size=(2, height, width, 3))
    if ties:
        x = np.round(np.maximum(x, 0))  # a few whole numbers: most blocks hold their largest value twice or more
    x = jnp.asarray(x.astype(np.float32), dtype)
    ours = value_and_gradient(lambda x: max_pool(x, window), x)
    theirs = value_and_gradient(lambda x: nn.max_pool(x, (window, window), (window, window)), x)
    for got, wanted in zip(ours, theirs, strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(np.asarray(got, np.float32), np.asarray(wanted, np.float32))


def test_the_first_of_equal_values_gets_the_whole_gradient():
    gradient = jax.grad(lambda x: max_pool(x).sum())(jnp.zeros((1, 2, 2, 1)))
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[1, 0], [0, 0]])


def test_nan_and_infinity_are_not_lost():
    x = jnp.asarray([[jnp.nan, 1.0, -jnp.inf, -jnp.inf], [2.0, 0.0, -jnp.inf, -jnp.inf]]).reshape(1, 2, 4, 1)
    for order in (x, x[:, ::-1], x[:, :, ::-1]):
        np.testing.assert_array_equal(max_pool(order), nn.max_pool(order, (2, 2), (2, 2)))


def test_vmap_equals_a_loop():
    x = jax.random.normal(jax.random.key(1), (3, 2, 5, 4, 2))
    slope = jax.jit(jax.grad(lambda x: jnp.sin(max_pool(x)).sum()))
    np.testing.assert_allclose(jax.vmap(slope)(x), jnp.stack([slope(each) for each in x]), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("window", [0, 17])
def test_a_window_out_of_range_is_refused(window):
    with pytest.raises(ValueError, match="window must be from 1 to 16"):
        max_pool(jnp.zeros((1, 32, 32, 1)), window)
