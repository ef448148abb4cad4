"""Two-dimensional convolution, lowered to matrix products on CPU and to the platform's own convolution elsewhere."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

_NHWC = ("NHWC", "HWIO", "NHWC")


def conv_general_dilated(
    lhs, rhs, window_strides, padding, lhs_dilation=None, rhs_dilation=None, dimension_numbers=None,
    feature_group_count=1, batch_group_count=1, precision=None, preferred_element_type=None,
):
    """`jax.lax.conv_general_dilated` with another lowering on CPU for NHWC/HWIO images: see the module's docstring.

    What the CPU lowering does not cover (groups, dilated kernels, other layouts) goes to `jax.lax` unchanged.
    """
    def native(lhs, rhs):
        return lax.conv_general_dilated(
            lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count,
            batch_group_count, precision, preferred_element_type,
        )

    covered = (
        lhs.ndim == 4
        and _is_nhwc(lhs.shape, rhs.shape, dimension_numbers)
        and feature_group_count == 1
        and batch_group_count == 1
        and all(d == 1 for d in rhs_dilation or ())
        and preferred_element_type in (None, lhs.dtype)
        and lhs.dtype == rhs.dtype
        and jnp.issubdtype(lhs.dtype, jnp.floating)
        and 0 not in lhs.shape + rhs.shape
    )
    if not covered:
        return native(lhs, rhs)
    dilation = tuple(lhs_dilation or (1, 1))
    strides = tuple(window_strides)
    if isinstance(padding, str):
        if dilation != (1, 1):
            return native(lhs, rhs)
        padding = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], strides, padding)
    padding = tuple((int(low), int(high)) for low, high in padding)
    return _convolve(lhs, rhs, strides, padding, dilation, precision)


def conv_transpose(lhs, rhs, strides, padding, rhs_dilation=None, transpose_kernel=False, precision=None,
                   preferred_element_type=None):
    """`jax.lax.conv_transpose` of NHWC images through this module's `conv_general_dilated`."""
    if rhs_dilation is not None and any(d != 1 for d in rhs_dilation) or preferred_element_type is not None:
        return lax.conv_transpose(lhs, rhs, strides, padding, rhs_dilation, None, transpose_kernel, precision,
                                  preferred_element_type)
    if isinstance(padding, str):
        padding = tuple(_transposed_padding(k, s, padding) for k, s in zip(rhs.shape[:2], strides, strict=True))
    if transpose_kernel:
        rhs = jnp.flip(rhs, (0, 1)).swapaxes(2, 3)
    return conv_general_dilated(lhs, rhs, (1, 1), padding, strides, None, _NHWC, precision=precision)


def _transposed_padding(kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """Zeros before and after the dilated image such that the output is stride * size (SAME), as in Keras."""
    if padding == "SAME":
        total = kernel + stride - 2
        low = kernel - 1 if stride > kernel - 1 else -(-total // 2)
        return low, total - low
    return kernel - 1, kernel - 1 + max(stride - kernel, 0)


def _is_nhwc(lhs_shape, rhs_shape, dimension_numbers) -> bool:
    numbers = lax.conv_dimension_numbers(lhs_shape, rhs_shape, dimension_numbers)
    return numbers == lax.conv_dimension_numbers(lhs_shape, rhs_shape, _NHWC)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _convolve(image, kernel, strides, padding, dilation, precision):
    def native(image, kernel):
        return lax.conv_general_dilated(image, kernel, strides, padding, dilation, None, _NHWC, precision=precision)

    def matmul(image, kernel):
        columns = _patches(image, kernel.shape[:2], strides, padding, dilation)
        return jnp.einsum("nhwk,ko->nhwo", columns, kernel.reshape(-1, kernel.shape[-1]), precision=precision)

    return lax.platform_dependent(image, kernel, cpu=matmul, default=native)


def _convolve_forward(image, kernel, strides, padding, dilation, precision):
    return _convolve(image, kernel, strides, padding, dilation, precision), (image, kernel)


def _convolve_backward(strides, padding, dilation, precision, saved, cotangent):
    image, kernel = saved
    sizes = kernel.shape[:2]
    # The transposed convolution: zeros between the cotangent's pixels for the strides, mirrored kernel.
    pads = []
    for axis, (low, _) in enumerate(padding):
        before = sizes[axis] - 1 - low
        full = (image.shape[axis + 1] - 1) * dilation[axis] + 1
        reach = (cotangent.shape[axis + 1] - 1) * strides[axis] + 1
        pads.append((before, full + sizes[axis] - 1 - before - reach))

    mirrored = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    image_bar = _convolve(cotangent, mirrored, dilation, tuple(pads), strides, precision)

    def native(image, cotangent):
        def forward(kernel):
            return lax.conv_general_dilated(image, kernel, strides, padding, dilation, None, _NHWC, precision=precision)

        return jax.linear_transpose(forward, jax.ShapeDtypeStruct(kernel.shape, kernel.dtype))(cotangent)[0]

    def matmul(image, cotangent):
        columns = _patches(image, sizes, strides, padding, dilation)
        return jnp.einsum("nhwk,nhwo->ko", columns, cotangent, precision=precision).reshape(kernel.shape)

    kernel_bar = lax.platform_dependent(image, cotangent, cpu=matmul, default=native)
    return image_bar, kernel_bar


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _patches(image, sizes: Sequence[int], strides, padding, dilation):
    """Every window of the image as one row: [N, H, W, C] -> [N, H_out, W_out, kernel height * kernel width * C]."""
    zero = jnp.zeros((), image.dtype)
    spatial = [(low, high, d - 1) for (low, high), d in zip(padding, dilation, strict=True)]
    image = lax.pad(image, zero, [(0, 0, 0), *spatial, (0, 0, 0)])
    n, height, width, channels = image.shape
    rows = (height - sizes[0]) // strides[0] + 1
    columns = (width - sizes[1]) // strides[1] + 1
    if tuple(sizes) == (1, 1) and tuple(strides) == (1, 1):
        return image
    return jnp.concatenate([
        lax.slice(
            image, (0, i, j, 0),
            (n, i + (rows - 1) * strides[0] + 1, j + (columns - 1) * strides[1] + 1, channels), (1, *strides, 1),
        )
        for i in range(sizes[0])
        for j in range(sizes[1])
    ], axis=-1)
