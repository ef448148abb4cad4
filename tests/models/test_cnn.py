import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.models.cnn import CNN


def shapes_of(model, inputs):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(inputs, jnp.float32)))["params"]


def test_defaults_are_the_papers_network():
    params = shapes_of(CNN(), (1, 512, 512, 3))
    kernels = {name: leaf["kernel"].shape for name, leaf in params.items()}
    assert kernels == {
        "conv_1": (3, 3, 3, 64),
        "conv_2": (3, 3, 64, 256),
        "conv_3": (3, 3, 256, 512),
        "conv_4": (3, 3, 512, 1024),
        "conv_5": (3, 3, 1024, 1024),
        "conv_6": (3, 3, 1024, 1024),
        "dense": (8 * 8 * 1024, 1024),
        "logits": (1024, 3),
    }


def test_logits_have_their_shape_and_type_in_both_precisions():
    for dtype in ("float32", "bfloat16"):
        model = CNN(widths=(4, 8), pools=2, dense=8, dtype=dtype)
        variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 17, 17, 1)))
        chex.assert_type(jax.tree.leaves(variables), jnp.float32)
        logits = jax.jit(model.apply)(variables, jnp.ones((5, 17, 17, 1)))
        chex.assert_shape(logits, (5, 3))
        chex.assert_type(logits, jnp.float32)


def test_dropout_is_live_in_training_alone():
    model = CNN(widths=(4,), pools=1, dense=32, dropout=0.5)
    inputs = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    variables = model.init(jax.random.key(0), inputs)
    logits = [model.apply(variables, inputs, train=True, rngs={"dropout": jax.random.key(key)}) for key in (0, 1)]
    assert not np.allclose(*logits)
    np.testing.assert_array_equal(model.apply(variables, inputs), model.apply(variables, inputs))


def test_the_initial_kernels_are_kerass_glorot_uniform():
    params = CNN(widths=(8, 64), pools=2, dense=8).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    kernel = np.asarray(params["conv_2"]["kernel"])
    limit = np.sqrt(6 / (9 * 8 + 9 * 64))
    assert np.abs(kernel).max() <= limit
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)
    assert not np.any(params["conv_2"]["bias"])


@pytest.mark.parity
@pytest.mark.parametrize("size", [32, 45])
def test_logits_and_gradients_equal_pytorchs(torch, size):
    functional = torch.nn.functional
    model = CNN(widths=(4, 8, 16), pools=3, dense=12)
    inputs = np.random.default_rng(0).random((2, size, size, 3), np.float32)
    params = jax.jit(model.init)(jax.random.key(0), inputs)["params"]

    def total(params, inputs):
        return jnp.sum(jnp.sin(model.apply({"params": params}, inputs)))

    gradient = jax.jit(jax.grad(total, (0, 1)))(params, inputs)
    kernels = {name: torch.tensor(np.asarray(leaf["kernel"]), requires_grad=True) for name, leaf in params.items()}
    pixels = torch.tensor(inputs, requires_grad=True)
    hidden = pixels.permute(0, 3, 1, 2)
    for index in (1, 2, 3):
        kernel = kernels[f"conv_{index}"].permute(3, 2, 0, 1)
        hidden = functional.max_pool2d(torch.relu(functional.conv2d(hidden, kernel, padding="same")), 2)
    hidden = torch.relu(hidden.permute(0, 2, 3, 1).flatten(1) @ kernels["dense"])
    logits = hidden @ kernels["logits"]
    torch.sin(logits).sum().backward()
    np.testing.assert_allclose(jax.jit(model.apply)({"params": params}, inputs), logits.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(gradient[1], pixels.grad.numpy(), atol=1e-5)
    for name, kernel in kernels.items():
        np.testing.assert_allclose(gradient[0][name]["kernel"], kernel.grad.numpy(), atol=1e-4, err_msg=name)
