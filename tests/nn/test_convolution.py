"""The convolution equals `jax.lax`'s in value and in both gradients, under every transformation it is used with."""

import functools
import re
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from btjax.nn import convolution, lowerings, patches
from btjax.nn.bands import Bands, BandSize
from btjax.nn.convolution import conv_general_dilated, conv_transpose
from btjax.nn.pooling import max_pool
from btjax.nn.window import NHWC, Window
from tests.nn.convolutions import (
    assert_same,
    compiled_text,
    cut_small,
    draw,
    plain,
    values_and_gradients,
    winograd_everywhere,
)


@pytest.fixture(params=["patches", "patches, channels first", "winograd"])
def small_bands(request, monkeypatch):
    """Matrix products at any size, in small bands."""
    monkeypatch.setattr(lowerings, "_NATIVE_SIDE", 10**6)
    cut_small(monkeypatch, large_map=0 if "first" in request.param else 1024)
    if request.param == "winograd":
        winograd_everywhere(monkeypatch)


paddings = st.sampled_from(["SAME", "VALID", ((2, 1), (0, 3)), ((0, 0), (4, 1))])


@settings(max_examples=16, deadline=None, derandomize=True, phases=(Phase.generate,))
@given(
    batch=st.sampled_from([1, 3, 4]),
    height=st.integers(5, 9),
    width=st.integers(5, 9),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([(1, 1), (2, 2), (1, 2)]),
    padding=paddings,
    channels=st.sampled_from([1, 3]),
    large=st.booleans(),
    banded=st.booleans(),
)
def test_any_shape_kernel_stride_and_padding_equals_lax(
    batch, height, width, kernel, stride, padding, channels, large, banded
):
    with pytest.MonkeyPatch.context() as patch:
        if large:
            patch.setattr(patches, "_LARGE_MAP", 0)
            patch.setattr(patches, "_MANY_TAPS", 1)
        if banded:
            cut_small(patch, large_map=0 if large else 1024, limit=300)
        image, kernel = draw(0, (batch, height, width, channels), (kernel, kernel, channels, 4))
        assert_same(
            functools.partial(conv_general_dilated, window_strides=stride, padding=padding, dimension_numbers=NHWC),
            functools.partial(plain, strides=stride, padding=padding),
            image,
            kernel,
        )


@pytest.mark.parametrize(
    ("count", "side", "positions", "bands"),
    [
        pytest.param(127, 8, 2048, 4, id="prime_batch"),
        pytest.param(1, 46, 2048, 1, id="side_of_twice_a_prime"),
        pytest.param(4, 64, 2048, 8, id="powers_of_two"),
    ],
)
def test_bands_are_near_the_size_that_is_asked_for(count, side, positions, bands):
    window, size = Window(padding=((1, 1), (1, 1))), BandSize(positions, row_multiple=2)
    cut = Bands(jnp.zeros((count, side, side, 1)), (3, 3), window, size)
    assert cut.count == bands and cut.rows % 2 == 0


@pytest.mark.parametrize(
    ("channels", "kernel", "padding", "width", "columns"),
    [
        pytest.param((1, 16), (3, 3), "SAME", 16, 4, id="by_4"),
        pytest.param((16, 1), (3, 3), "SAME", 16, 4, id="by_4_to_one_channel"),
        pytest.param((8, 8), (3, 3), "SAME", 10, 2, id="by_2"),
        pytest.param((3, 8), (3, 2), ((2, 1), (0, 5)), 12, 4, id="even_kernel"),
        pytest.param((3, 3), (5, 5), "VALID", 16, 4, id="without_padding"),
        pytest.param((3, 3), (3, 3), ((0, 0), (-3, 2)), 13, 2, id="cropped_image"),
        pytest.param((8, 8), (3, 3), ((0, -2), (-3, 2)), 16, 1, id="cropped_image_not_folded"),
        pytest.param((3, 3), (3, 3), "SAME", 13, 1, id="odd_width"),
        pytest.param((3, 40), (3, 3), "SAME", 16, 1, id="many_channels"),
        pytest.param((1, 16), (1, 1), "SAME", 16, 1, id="one_tap"),
    ],
)
def test_few_channels_with_columns_folded_into_them_equal_lax(monkeypatch, channels, kernel, padding, width, columns):
    found = []

    def fold(image, *rest, fold_columns=lowerings._fold_columns):
        folded = fold_columns(image, *rest)
        found.append(image.shape[2] // folded[0].shape[2])
        return folded

    monkeypatch.setattr(lowerings, "_fold_columns", fold)
    image, weights = draw(3, (2, 14, width, channels[0]), (*kernel, *channels))
    assert_same(
        functools.partial(conv_general_dilated, window_strides=(1, 1), padding=padding, dimension_numbers=NHWC),
        functools.partial(plain, padding=padding),
        image,
        weights,
    )
    assert found[0] == columns


@settings(max_examples=7, deadline=None, derandomize=True, phases=(Phase.generate,))
@given(
    size=st.integers(2, 6),
    kernel=st.sampled_from([1, 2, 3, 4]),
    stride=st.sampled_from([(2, 2), (3, 1), (1, 1)]),
    padding=st.sampled_from(["SAME", "VALID", ((1, 2), (2, 0))]),
    transpose_kernel=st.booleans(),
)
def test_transposed_convolution_equals_lax(size, kernel, stride, padding, transpose_kernel):
    settings = {"strides": stride, "padding": padding, "transpose_kernel": transpose_kernel}
    channels = (5, 3) if transpose_kernel else (3, 5)
    image, weights = draw(1, (2, size, size + 1, 3), (kernel, kernel, *channels))
    wanted = lax.conv_transpose(image, weights, **settings)

    def reference(image, weights):
        if transpose_kernel:
            weights = jnp.flip(weights, (0, 1)).swapaxes(2, 3)
        pads = padding
        if isinstance(padding, str):
            pads = [convolution._transposed_padding(kernel, s, padding) for s in stride]
        return plain(image, weights, padding=pads, dilation=stride)

    np.testing.assert_allclose(jax.jit(reference)(image, weights), wanted, rtol=1e-4, atol=1e-4)
    assert_same(functools.partial(conv_transpose, **settings), reference, image, weights)


@pytest.mark.parametrize("large_map", [1024, 0])
def test_bfloat16_equals_lax_to_its_precision(monkeypatch, large_map):
    cut_small(monkeypatch, large_map)
    settings = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC}
    assert_same(
        functools.partial(conv_general_dilated, **settings),
        functools.partial(lax.conv_general_dilated, **settings),
        *draw(2, (4, 8, 8, 3), (3, 3, 3, 4), dtype=jnp.bfloat16),
        tolerance=2e-2,
    )


@pytest.mark.parametrize("large_map", [1024, 0])
def test_kernel_gradient_in_bfloat16_loses_nothing_over_many_bands(monkeypatch, large_map):
    cut_small(monkeypatch, large_map)
    image = jnp.ones((4, 31, 33, 1), jnp.bfloat16)
    kernel = jnp.zeros((1, 1, 1, 1), jnp.bfloat16)
    gradient = jax.jit(
        jax.grad(
            lambda kernel: (
                conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=NHWC).astype(jnp.float32).sum()
            )
        )
    )(kernel)
    assert float(gradient[0, 0, 0, 0]) == 4096.0  # 4092, rounded once; added up in bfloat16 it is less


def test_a_padding_that_crops_a_whole_axis_and_no_features_are_as_in_lax():
    image, kernel = draw(9, (2, 9, 12, 3), (3, 3, 3, 4))
    ours = functools.partial(
        conv_general_dilated, window_strides=(1, 1), padding=((0, 0), (-13, 30)), dimension_numbers=NHWC
    )
    assert_same(ours, functools.partial(plain, padding=((0, 0), (-13, 30))), image, kernel)
    same = functools.partial(conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=NHWC)
    output, *gradients = values_and_gradients(same, image[:, :4, :4], kernel[..., :0])
    assert output.shape == (2, 4, 4, 0) and [part.shape for part in gradients] == [(2, 4, 4, 3), (3, 3, 3, 0)]


def test_groups_dilated_kernels_and_other_layouts_are_as_in_lax():
    image, kernel = draw(3, (2, 7, 7, 4), (3, 3, 2, 4))
    for arguments in (
        ((1, 1), "SAME", None, None, NHWC, 2),
        ((1, 1), ((2, 2), (2, 2)), None, (2, 2), NHWC, 2),
    ):
        np.testing.assert_array_equal(
            conv_general_dilated(image, kernel, *arguments), lax.conv_general_dilated(image, kernel, *arguments)
        )
    image, kernel = draw(4, (2, 3, 7, 7), (4, 3, 3, 3))
    np.testing.assert_array_equal(
        conv_general_dilated(image, kernel, (2, 2), "SAME"), lax.conv_general_dilated(image, kernel, (2, 2), "SAME")
    )


def test_vmap_over_kernels_and_over_both_equals_a_loop(small_bands):
    image, kernels = draw(5, (2, 4, 6, 6, 2), (2, 3, 3, 2, 4))

    def gradients(image, kernel):
        return jax.grad(
            lambda image, kernel: jnp.sin(
                conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=NHWC)
            ).sum(),
            argnums=(0, 1),
        )(image, kernel)

    one_by_one = [jax.jit(gradients)(image[i], kernels[i]) for i in range(2)]
    together = jax.jit(jax.vmap(gradients))(image, kernels)
    for i in range(2):
        for got, wanted in zip(together, one_by_one[i], strict=True):
            np.testing.assert_allclose(got[i], wanted, rtol=1e-4, atol=1e-4)
    shared = jax.jit(jax.vmap(gradients, in_axes=(None, 0)))(image[0], kernels)
    np.testing.assert_allclose(shared[1][0], one_by_one[0][1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_vmap_over_kernels_on_larger_maps_equals_a_loop_and_groups_nothing(strides):
    images, kernels = draw(6, (2, 3, 1, 32, 32, 2), (3, 3, 3, 2, 4))

    def convolve(image, kernel):
        return conv_general_dilated(image, kernel, strides, "SAME", dimension_numbers=NHWC)

    over_both = jax.jit(jax.vmap(jax.vmap(convolve, (0, None)), (1, 0)))
    text = compiled_text(over_both, images, kernels)
    assert "convolution(" in text and "feature_group_count" not in text
    together, shared = over_both(images, kernels), jax.jit(jax.vmap(convolve, (None, 0)))(images[0, 0], kernels)
    for i in range(3):
        for j in range(2):
            wanted = plain(images[j, i], kernels[i], strides, "SAME")
            np.testing.assert_allclose(together[i, j], wanted, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(shared[i], plain(images[0, 0], kernels[i], strides, "SAME"), rtol=1e-5, atol=1e-5)


class SmallNetwork(nn.Module):
    """Two convolutions with pooling, and one with a stride, as small as can be."""

    convolve: Callable = conv_general_dilated

    @nn.compact
    def __call__(self, images):
        for features in (4, 8):
            images = nn.Conv(features, (3, 3), conv_general_dilated=self.convolve)(images)
            images = max_pool(nn.relu(images))
        images = nn.Conv(8, (3, 3), strides=2, conv_general_dilated=self.convolve)(images)
        return nn.Dense(3)(images.reshape(images.shape[0], -1))


def training(network):
    """A function (params, images, labels, steps) -> params after so many steps, in one loop with a dynamic count."""

    def run(params, images, labels, steps):
        def loss(params):
            logits = network.apply({"params": params}, images)
            return -jnp.take_along_axis(nn.log_softmax(logits), labels[:, None], axis=1).mean()

        def step(_, params):
            return jax.tree.map(lambda value, slope: value - 0.1 * slope, params, jax.grad(loss)(params))

        return lax.fori_loop(0, steps, step, params)

    return jax.jit(run)


def params_and_data():
    (images,) = draw(6, (4, 12, 12, 3))
    params = jax.jit(SmallNetwork().init)(jax.random.key(7), images)["params"]
    return params, images, jnp.asarray([0, 1, 2, 0])


def test_training_in_a_loop_equals_the_native_convolution(small_bands):
    params, images, labels = params_and_data()
    ours = training(SmallNetwork())(params, images, labels, 3)
    theirs = training(SmallNetwork(lax.conv_general_dilated))(params, images, labels, 3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), ours, theirs)


def test_a_training_step_on_cpu_has_xlas_convolution_forwards_and_on_larger_maps_alone():
    def convolutions(network):
        text = compiled_text(training(network), *params_and_data(), 3)
        return re.findall(r"\bconvolution\(.*?dim_labels=([^,]*)", text)

    forwards = "b01f_01io->b01f"
    assert set(convolutions(SmallNetwork(lax.conv_general_dilated))) > {forwards}
    # Only the 12x12 map uses XLA's convolution, not those of 6x6 and 3x3; its kernel's gradient is a matrix product.
    assert convolutions(SmallNetwork()) == [forwards]


@pytest.mark.parametrize(("size", "found"), [(32, 1), (30, 0)])
def test_a_strided_convolution_on_cpu_is_xlas_where_its_output_has_16_pixels_a_side(size, found):
    def energy(image, kernel):
        return conv_general_dilated(image, kernel, (2, 2), "SAME", dimension_numbers=NHWC).sum()

    arrays = draw(7, (2, size, size, 4), (3, 3, 4, 8))
    assert compiled_text(jax.jit(energy), *arrays).count(" convolution(") == found


def test_other_platforms_get_the_native_convolution():
    image, kernel = draw(8, (2, 6, 6, 3), (3, 3, 3, 4))

    def gradients(image, kernel):
        return jax.grad(
            lambda image, kernel: conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=NHWC).sum(),
            argnums=(0, 1),
        )(image, kernel)

    text = {
        platform: jax.jit(gradients).trace(image, kernel).lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert "stablehlo.convolution" not in text["cpu"]
    for platform in ("cuda", "tpu"):
        assert text[platform].count("stablehlo.convolution") == 2 and "dot_general" not in text[platform]


def test_two_devices_give_the_same_training_and_keep_the_batch_spread(small_bands):
    params, images, labels = params_and_data()
    alone = training(SmallNetwork())(params, images, labels, 2)
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("batch",))
    images, labels = jax.device_put((images, labels), NamedSharding(mesh, PartitionSpec("batch")))
    params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
    compiled = training(SmallNetwork()).lower(params, images, labels, 2).compile()
    text = compiled.as_text() or ""
    assert "all-reduce(" in text and "all-gather(" not in text and "all-to-all(" not in text
    assert "collective-permute(" not in text
    together = compiled(params, images, labels, 2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), alone, together)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_second_derivatives_are_native_ones(small_bands, strides):
    image, kernel = draw(10, (2, 7, 5, 2), (3, 3, 2, 4))

    def curvature(convolve):
        def energy(image, kernel):
            return jnp.sum(jnp.tanh(convolve(image, kernel)))

        def slope(image, kernel):
            return sum(jnp.sum(jnp.square(part)) for part in jax.grad(energy, (0, 1))(image, kernel))

        return jax.jit(jax.grad(slope, (0, 1)))(image, kernel)

    ours = functools.partial(conv_general_dilated, window_strides=strides, padding="SAME", dimension_numbers=NHWC)
    theirs = functools.partial(plain, strides=strides, padding="SAME")
    for found, expected in zip(curvature(ours), curvature(theirs), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
