"""Two-dimensional convolution: the fastest of three lowerings on CPU, the platform's own elsewhere.

Everything is built from three maps: the convolution, its gradient for the image (again a convolution) and its gradient
for the kernel. The gradients of these are the same three maps, at every order of reverse mode, and `jax.custom_vjp`
declares them. The backward pass therefore saves the image, not the patches made from it, and XLA's own gradients, slow
on a CPU, are not used. Forward mode (`jax.jvp`, `jax.hessian`) is not supported.

`btjax.nn.lowerings` chooses how each map is computed.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from btjax.nn import lowerings
from btjax.nn.depthwise import convolve_depthwise
from btjax.nn.portable import is_portable
from btjax.nn.window import NHWC, Pair, Window

_Saved = tuple[jax.Array, jax.Array]


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: lax.ConvGeneralDilatedDimensionNumbers = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """`jax.lax.conv_general_dilated` with the same arguments and a faster lowering on CPU.

    The lowering covers floating-point images [N, H, W, C] and kernels [h, w, C, O] of one dtype, either strided or with
    a dilated image (a transposed convolution), with any padding; dense or depthwise (`btjax.nn.depthwise`). Everything
    else (other groups, dilated kernels, other layouts) is passed on to `jax.lax`.

    Args:
      lhs: the images, float [N, H, W, C].
      rhs: the kernel, float [h, w, C, O].
      window_strides: pixels from one window to the next, by axis.
      padding: "SAME", "VALID", or the zeros (before, after) each axis.
      lhs_dilation: the factor by which the image is dilated, by axis.
      rhs_dilation: the factor by which the kernel is dilated, by axis.
      dimension_numbers: the layout; only ("NHWC", "HWIO", "NHWC") is covered.
      feature_group_count: number of channel groups.
      batch_group_count: number of batch groups.
      precision: of the products.
      preferred_element_type: the output's dtype.

    Returns:
      float [N, H_out, W_out, O], equal to `jax.lax.conv_general_dilated` up to rounding. Where that is infinite, this
      may be NaN, in the kernel's gradient for other taps too.

    Example:
      >>> import flax.linen as nn
      >>> layer = nn.Conv(16, (3, 3), conv_general_dilated=conv_general_dilated)
      >>> layer.init_with_output(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))[0].shape
      (1, 8, 8, 16)
    """
    depthwise = feature_group_count > 1 and rhs.shape[2:] == (1, lhs.shape[-1]) and feature_group_count == lhs.shape[-1]
    covered = not is_portable() and (
        _are_images_and_kernel(lhs, rhs, dimension_numbers)
        and (depthwise or feature_group_count == 1)
        and batch_group_count == 1
        and preferred_element_type in (None, lhs.dtype)
        and all(factor == 1 for factor in rhs_dilation or ())
    )
    window = _window(lhs.shape, rhs.shape, window_strides, padding, lhs_dilation) if covered else None
    if window is not None and depthwise:
        return convolve_depthwise(lhs, rhs, dataclasses.replace(window, precision=precision))
    if window is not None:
        return _convolve(lhs, rhs, dataclasses.replace(window, precision=precision), False)
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        dimension_numbers,
        feature_group_count,
        batch_group_count,
        precision,
        preferred_element_type,
    )


def conv_transpose(
    lhs: jax.Array,
    rhs: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    transpose_kernel: bool = False,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """`jax.lax.conv_transpose` of images [N, H, W, C] with a kernel [h, w, C, O], through `conv_general_dilated`.

    Args:
      lhs: the images, float [N, H, W, C].
      rhs: the kernel, float [h, w, C, O]; [h, w, O, C] with `transpose_kernel`.
      strides: how many times larger the output is, by axis.
      padding: "SAME" (the output's size is stride * size), "VALID", or the zeros around the dilated image.
      transpose_kernel: flip the kernel and swap its channel axes, as Keras and PyTorch do.
      precision: of the products.

    Returns:
      float [N, H_out, W_out, O], equal to `jax.lax.conv_transpose`.

    Example:
      >>> conv_transpose(jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3, 2)), (2, 2), "SAME").shape
      (1, 8, 8, 2)
    """
    if isinstance(padding, str):
        padding = [_transposed_padding(k, s, padding) for k, s in zip(rhs.shape[:2], strides, strict=True)]
    if transpose_kernel:
        rhs = lowerings.mirror(rhs)
    return conv_general_dilated(lhs, rhs, (1, 1), padding, strides, dimension_numbers=NHWC, precision=precision)


def _transposed_padding(kernel: int, stride: int, padding: str) -> Pair:
    """Zeros before and after a dilated axis, so that this is the gradient of a convolution padded by `padding`."""
    if padding == "SAME":
        total = kernel + stride - 2
        low = kernel - 1 if stride > kernel - 1 else -(-total // 2)
        return low, total - low
    return kernel - 1, kernel - 1 + max(stride - kernel, 0)


def _are_images_and_kernel(
    lhs: jax.Array, rhs: jax.Array, dimension_numbers: lax.ConvGeneralDilatedDimensionNumbers
) -> bool:
    """Whether these are non-empty [N, H, W, C] and [h, w, C, O] of one floating-point dtype."""
    if lhs.ndim != 4 or 0 in lhs.shape + rhs.shape:
        return False
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    return (
        numbers == lax.conv_dimension_numbers(lhs.shape, rhs.shape, NHWC)
        and lhs.dtype == rhs.dtype
        and jnp.issubdtype(lhs.dtype, jnp.floating)
    )


def _window(
    image_shape: Sequence[int],
    kernel_shape: Sequence[int],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    dilation: Sequence[int] | None,
) -> Window | None:
    """The window, or None if the lowering does not cover it: strided and dilated at once, or an empty output."""
    image_size, kernel_size = image_shape[1:3], kernel_shape[:2]
    (row_stride, column_stride), (row_dilation, column_dilation) = strides, dilation or (1, 1)
    dilated = (row_dilation, column_dilation) != (1, 1)
    if dilated and ((row_stride, column_stride) != (1, 1) or isinstance(padding, str)):
        return None
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(image_size, kernel_size, strides, padding)
    (above, below), (left, right) = padding
    pads = (int(above), int(below)), (int(left), int(right))
    window = Window((row_stride, column_stride), pads, (row_dilation, column_dilation))
    return window if min(window.output_size(image_size, kernel_size)) > 0 else None


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(image: jax.Array, kernel: jax.Array, window: Window, mirrored: bool) -> jax.Array:
    """The convolution with a kernel [h, w, C, O], or with the mirror image of a kernel [h, w, O, C]."""
    return lax.platform_dependent(
        image,
        kernel,
        cpu=lambda image, kernel: lowerings.cpu(image, kernel, window, mirrored),
        default=lambda image, kernel: lowerings.native(image, lowerings.mirror(kernel) if mirrored else kernel, window),
    )


def _convolve_forward(image: jax.Array, kernel: jax.Array, window: Window, mirrored: bool) -> tuple[jax.Array, _Saved]:
    return _convolve(image, kernel, window, mirrored), (image, kernel)


def _convolve_backward(
    window: Window, mirrored: bool, saved: _Saved, cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    image, kernel = saved
    kernel_size = kernel.shape[:2]
    transposed = window.transposed(image.shape[1:3], kernel_size)
    # Of a `partial` of `custom_vjp`, whose type some versions of JAX lose.
    image_cotangent: Any = _convolve(cotangent, kernel, transposed, not mirrored)
    kernel_cotangent: Any = _kernel_gradient(image, cotangent, kernel_size, window)
    return image_cotangent, lowerings.mirror(kernel_cotangent) if mirrored else kernel_cotangent


_convolve.defvjp(_convolve_forward, _convolve_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _kernel_gradient(image: jax.Array, cotangent: jax.Array, kernel_size: Pair, window: Window) -> jax.Array:
    """The gradient of `_convolve` for a kernel that is not mirrored, [h, w, C, O]."""
    return lax.platform_dependent(
        image,
        cotangent,
        cpu=lambda image, cotangent: lowerings.cpu_kernel_gradient(image, cotangent, kernel_size, window),
        default=lambda image, cotangent: lowerings.native_kernel_gradient(image, cotangent, kernel_size, window),
    )


def _kernel_gradient_forward(
    image: jax.Array, cotangent: jax.Array, kernel_size: Pair, window: Window
) -> tuple[jax.Array, _Saved]:
    return _kernel_gradient(image, cotangent, kernel_size, window), (image, cotangent)


def _kernel_gradient_backward(
    kernel_size: Pair, window: Window, saved: _Saved, kernel: jax.Array
) -> tuple[jax.Array, jax.Array]:
    # The kernel's gradient is linear in the image and in the output's cotangent. Its own gradients are therefore the
    # convolution's, with `kernel`, the cotangent of the kernel's gradient, in the kernel's place.
    image, cotangent = saved
    transposed = window.transposed(image.shape[1:3], kernel_size)
    return _convolve(cotangent, kernel, transposed, True), _convolve(image, kernel, window, False)


_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)
