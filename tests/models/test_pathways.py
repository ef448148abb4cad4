"""The network of three pathways: one pass over a slice, on any grid, gives what windows cut out one by one give."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.models.pathways import WINDOW, Pathways, pooled
from btjax.nn.network import check_network

TINY = Pathways(widths=(3, 4, 5), merged=6, dense=7)
SIZE = 16


@pytest.fixture(scope="module")
def drawn():
    """Slices, and variables of which no bias is zero."""
    with jax.numpy_dtype_promotion("standard"):
        inputs = jax.random.normal(jax.random.key(0), (2, SIZE, SIZE, 1))
        variables = jax.jit(TINY.init)(jax.random.key(1), inputs)
        leaves, tree = jax.tree.flatten(variables)
        keys = jax.random.split(jax.random.key(2), len(leaves))
        leaves = [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
        return inputs, jax.tree.unflatten(tree, leaves)


@functools.partial(jax.jit, static_argnums=0)
def pixels(grid: int, variables, inputs):
    return TINY.clone(grid=grid).apply(variables, inputs, stop="pixels")[0]


@pytest.mark.parametrize("grid", [1, 2, 4, 8])
def test_it_keeps_the_protocol(grid):
    check_network(TINY.clone(grid=grid), 16, 1)


@pytest.mark.parametrize("grid", [2, 4, 8])
def test_a_coarse_grid_gives_the_numbers_of_a_fine_one(drawn, grid):
    inputs, variables = drawn
    fine = pixels(1, variables, inputs)
    assert fine.shape == (2, SIZE, SIZE, 4)
    found = pixels(grid, variables, inputs)
    np.testing.assert_allclose(found, fine[:, grid // 2 :: grid, grid // 2 :: grid], atol=1e-5)


def reference(torch, params, window):
    """The paper's network on windows [B, 65, 65, C], by PyTorch: logits [B, 4]."""
    functional = torch.nn.functional

    def convolved(hidden, layer):
        kernel = torch.tensor(np.asarray(layer["kernel"]).transpose(3, 2, 0, 1))
        return functional.conv2d(hidden, kernel, torch.tensor(np.asarray(layer["bias"])))

    maps = []
    for kernel in (11, 7, 3):
        hidden = window[:, :, 2:-2, 2:-2] if kernel == 7 else window
        for number in (1, 2):
            hidden = functional.relu(convolved(hidden, params["pathways"][f"conv_{kernel}_{number}"]))
            hidden = functional.max_pool2d(hidden, 3, 2)
        # Places whose middles are 18, 22, ..., 46 pixels from the window's border.
        first = {11: 0, 7: 1, 3: 3}[kernel]
        maps.append(hidden[:, :, first : first + 8, first : first + 8])
    hidden = functional.relu(convolved(torch.cat(maps, dim=1), params["merge"]))
    hidden = functional.relu(convolved(functional.max_pool2d(hidden, 3, 2), params["hidden"]))
    return convolved(hidden, params["pixels"])[:, :, 0, 0]


@pytest.mark.parity
def test_every_window_alone_gives_what_one_pass_gives_by_pytorch(torch, drawn):
    inputs, variables = drawn
    places = [(0, 0), (5, 9), (15, 3), (8, 8), (15, 15)]
    before, after = WINDOW // 2, WINDOW // 2 + 4  # the last four rows and columns of a window do not count
    padded = np.pad(np.asarray(inputs), ((0, 0), (before, after), (before, after), (0, 0)))
    windows = np.stack([padded[0, row : row + 65, column : column + 65] for row, column in places])
    window = torch.tensor(windows.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    logits = reference(torch, variables["params"], window)
    found = np.stack([pixels(1, variables, inputs)[0, row, column] for row, column in places])
    np.testing.assert_allclose(found, logits.detach().numpy(), atol=1e-5)
    logits[1, 2].backward()
    row, column = places[1]
    gradient = jax.jit(jax.grad(lambda x: pixels(1, variables, x)[0, row, column, 2]))(inputs)[0]
    around = np.pad(window.grad[1].numpy().transpose(1, 2, 0), ((row, SIZE), (column, SIZE), (0, 0)))
    np.testing.assert_allclose(gradient, around[before : before + SIZE, before : before + SIZE], atol=1e-5)


def test_the_paper_s_widths_have_the_parameters_that_follow_from_them():
    shapes = jax.eval_shape(Pathways().init, jax.random.key(0), jax.ShapeDtypeStruct((1, 64, 64, 1), jnp.float32))
    found = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    first = sum(kernel**2 * width + width for kernel, width in ((11, 128), (7, 96), (3, 64)))
    second = sum(kernel**2 * width**2 + width for kernel, width in ((11, 128), (7, 96), (3, 64)))
    after = (9 * 288 * 128 + 128) + (4 * 128 * 256 + 256) + (256 * 4 + 4)
    assert found == first + second + after


def test_the_class_of_a_slice_is_the_one_that_most_pixels_say(drawn):
    inputs, variables = drawn
    shares = jax.nn.softmax(pixels(8, variables, inputs))[..., 1:].mean(axis=(1, 2))
    np.testing.assert_array_equal(TINY.apply(variables, inputs).argmax(1), shares.argmax(1))


def test_in_training_the_pixels_alone_are_trained(drawn):
    inputs, variables = drawn

    def total(variables, train):
        return TINY.apply(variables, inputs, train=train, rngs={"dropout": jax.random.key(0)}).sum()

    trained, read = (jax.jit(jax.grad(total), static_argnums=1)(variables, train) for train in (True, False))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(trained))
    assert any((leaf != 0).any() for leaf in jax.tree.leaves(read))


def test_the_largest_of_three_by_three_is_that_of_numpy():
    images = np.random.default_rng(0).standard_normal((2, 12, 11, 3)).astype(np.float32)
    for stride, apart in ((1, 1), (2, 1), (1, 2), (1, 4)):
        found = pooled(jnp.asarray(images), stride, apart)
        rows, columns = (range(0, side - 2 * apart, stride) for side in images.shape[1:3])
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                block = images[:, row : row + 2 * apart + 1 : apart, column : column + 2 * apart + 1 : apart]
                np.testing.assert_array_equal(found[:, i, j], block.max(axis=(1, 2)))
        assert found.shape[1:3] == (len(rows), len(columns))


@pytest.mark.parametrize(
    ("options", "size", "words"),
    [
        ({"widths": (3, 4)}, 16, "--widths: found 2, expected 3, one of each pathway"),
        ({"grid": 3}, 16, "--grid=3: expected 1, 2, 4 or 8"),
        ({"grid": 8}, 20, "--image_size=20: --grid=8 expects a multiple of 8"),
    ],
)
def test_options_that_do_not_fit_are_one_line(options, size, words):
    with pytest.raises(InputError, match=words):
        TINY.clone(**options).check(size)
