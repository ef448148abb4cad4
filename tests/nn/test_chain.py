"""Chains of layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.models.cnn import CNN
from btjax.nn.chain import run_chain

LAYERS = [("double", lambda x: 2 * x), ("increment", lambda x: x + 1), ("square", lambda x: x * x)]


def test_a_chain_runs_whole_or_in_part():
    assert run_chain(LAYERS, 3) == 49
    assert run_chain(LAYERS, 3, stop="increment") == 7
    assert run_chain(LAYERS, 7, start="increment") == 49
    assert run_chain(LAYERS, 6, start="double", stop="increment") == 7
    assert run_chain(LAYERS, 7, start="increment", stop="increment") == 7


@pytest.mark.parametrize("bounds", [{"start": "halve"}, {"stop": "halve"}, {"start": "square", "stop": "double"}])
def test_an_unknown_layer_or_a_stop_before_the_start_is_refused(bounds):
    with pytest.raises(ValueError, match="double"):
        run_chain(LAYERS, 3, **bounds)


def test_the_cnn_cut_at_any_layer_gives_the_same_logits():
    model = CNN(widths=(4, 8), pools=1, dense=16)
    inputs = jax.random.normal(jax.random.key(1), (2, 16, 16, 1))
    variables = model.init(jax.random.key(0), inputs)
    expected = model.apply(variables, inputs)
    for name in model.layers:
        below = model.apply(variables, inputs, stop=name)
        np.testing.assert_array_equal(model.apply(variables, below, start=name), expected)
    assert model.apply(variables, inputs, stop="pool_1").shape == (2, 8, 8, 4)
    assert jnp.shape(model.apply(variables, inputs, stop="flatten")) == (2, 8 * 8 * 8)
