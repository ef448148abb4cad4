"""Two-dimensional convolution: on CPU the fastest of three lowerings, elsewhere the platform's own.

Only three maps exist: the convolution, and its two gradients (for the image it is again a convolution). Their own
gradients are the same three maps, at every order of reverse mode; `jax.custom_vjp` says so. Hence the backward pass
saves the image and not what is made of it, and XLA's gradients, which are slow on a CPU, are never asked for. Forward
mode (`jax.jvp`, `jax.hessian`) does not pass through.

On CPU, in float32 and float64, 3x3 kernels of many channels are Winograd's (`btjax.nn.winograd`), in the gradients
too. Other convolutions that give maps of some size are XLA's own. On small maps that one is slow (by far, for 2x2
pixels and 1024 channels), and its gradient for the kernel is slow: these are products of patches
(`btjax.nn.patches`). `scripts/bench` measures them.

Few channels leave a core's vectors, and its products, mostly empty. Neighbouring pixels of a row then count as further
channels: the image is only reshaped, and the kernel is repeated for each of them, with zeros between.
"""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from btjax.nn import patches, winograd
from btjax.nn.bands import pad

_NHWC = ("NHWC", "HWIO", "NHWC")
_NATIVE_SIDE = 8  # pixels; on smaller maps XLA's own convolution is the slower one on a CPU
_WINOGRAD_CHANNELS, _WINOGRAD_KERNEL = 64, 1 << 14  # channels in or out, their product
_WINOGRAD_POSITIONS = 192  # pixels of all outputs
_JOINED = (4, 2)  # pixels
_JOINED_CHANNELS, _JOINED_KERNEL = 16, 512  # channels before, channels in times channels out after they are joined


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers=None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision=None,
    preferred_element_type=None,
) -> jax.Array:
    """`jax.lax.conv_general_dilated`, argument for argument, with a faster lowering on CPU.

    The lowering is for floating-point images [N, H, W, C] and kernels [h, w, C, O] of one dtype, with strides or with a
    dilated image (a transposed convolution), any padding. Everything else (groups, dilated kernels, other layouts)
    goes to `jax.lax` as it is. Use it as `nn.Conv(..., conv_general_dilated=conv_general_dilated)`.

    Args:
      lhs: the images, float [N, H, W, C].
      rhs: the kernel, float [h, w, C, O].
      others: as in `jax.lax.conv_general_dilated`.

    Returns:
      float [N, H_out, W_out, O], equal to `jax.lax.conv_general_dilated` up to rounding; where that has an infinity,
      this may have nan, in the kernel's gradient for other taps too.
    """
    strides, dilation = tuple(window_strides), tuple(lhs_dilation or (1, 1))
    covered = (
        lhs.ndim == 4
        and 0 not in lhs.shape + rhs.shape
        and _is_nhwc(lhs.shape, rhs.shape, dimension_numbers)
        and feature_group_count == 1
        and batch_group_count == 1
        and all(d == 1 for d in rhs_dilation or ())
        and (strides == (1, 1) or dilation == (1, 1))
        and not (isinstance(padding, str) and dilation != (1, 1))
        and preferred_element_type in (None, lhs.dtype)
        and lhs.dtype == rhs.dtype
        and jnp.issubdtype(lhs.dtype, jnp.floating)
    )
    if covered:
        if isinstance(padding, str):
            padding = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], strides, padding)
        padding = tuple((int(low), int(high)) for low, high in padding)
        covered = min(_output_sizes(lhs.shape, rhs.shape, strides, padding, dilation)) > 0
    if not covered:
        layout = (lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count, batch_group_count)
        return lax.conv_general_dilated(lhs, rhs, window_strides, padding, *layout, precision, preferred_element_type)
    return _convolve(lhs, rhs, strides, padding, dilation, precision, False)


def conv_transpose(
    lhs: jax.Array,
    rhs: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    transpose_kernel: bool = False,
    precision=None,
) -> jax.Array:
    """`jax.lax.conv_transpose` of images [N, H, W, C] with a kernel [h, w, C, O], through `conv_general_dilated`.

    Args:
      lhs: the images, float [N, H, W, C].
      rhs: the kernel, float [h, w, C, O]; [h, w, O, C] with `transpose_kernel`.
      strides: how much larger the output is, by axis.
      padding: "SAME" (the output is stride * size), "VALID", or the zeros around the dilated image.
      transpose_kernel: mirror the kernel and swap its channels, as Keras and PyTorch do.
      precision: as in `jax.lax.conv_transpose`.

    Returns:
      float [N, H_out, W_out, O], equal to `jax.lax.conv_transpose`.
    """
    if isinstance(padding, str):
        padding = [_transposed_padding(k, s, padding) for k, s in zip(rhs.shape[:2], strides, strict=True)]
    if transpose_kernel:
        rhs = _mirrored(rhs)
    return conv_general_dilated(lhs, rhs, (1, 1), padding, strides, dimension_numbers=_NHWC, precision=precision)


def _transposed_padding(kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """Zeros before and after the dilated axis: those of a convolution whose gradient this would be."""
    if padding == "SAME":
        total = kernel + stride - 2
        low = kernel - 1 if stride > kernel - 1 else -(-total // 2)
        return low, total - low
    return kernel - 1, kernel - 1 + max(stride - kernel, 0)


def _is_nhwc(lhs_shape, rhs_shape, dimension_numbers) -> bool:
    numbers = lax.conv_dimension_numbers(lhs_shape, rhs_shape, dimension_numbers)
    return numbers == lax.conv_dimension_numbers(lhs_shape, rhs_shape, _NHWC)


def _output_sizes(image_shape, kernel_shape, strides, padding, dilation) -> tuple[int, int]:
    """Height and width of the output."""
    padded = [(image_shape[axis + 1] - 1) * dilation[axis] + 1 + sum(padding[axis]) for axis in (0, 1)]
    return tuple((padded[axis] - kernel_shape[axis]) // strides[axis] + 1 for axis in (0, 1))


def _mirrored(kernel):
    """The kernel [h, w, C, O] upside down, back to front, channels swapped: [h, w, O, C]."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def _native(image, kernel, strides, padding, dilation, precision, mirrored):
    kernel = _mirrored(kernel) if mirrored else kernel
    return lax.conv_general_dilated(image, kernel, strides, padding, dilation, None, _NHWC, precision=precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5, 6))
def _convolve(image, kernel, strides, padding, dilation, precision, mirrored):
    """The convolution with the kernel [h, w, C, O], or with the `_mirrored` kernel [h, w, O, C]."""
    settings = strides, padding, dilation, precision, mirrored
    return _by_platform(_product, _native, image, kernel, *settings)


def _by_platform(cpu, default, one, other, *settings):
    """`cpu` or `default` of two arrays and settings, whichever the program is compiled for."""
    return lax.platform_dependent(
        one, other, cpu=lambda *arrays: cpu(*arrays, *settings), default=lambda *arrays: default(*arrays, *settings)
    )


def _convolve_forward(image, kernel, strides, padding, dilation, precision, mirrored):
    return _convolve(image, kernel, strides, padding, dilation, precision, mirrored), (image, kernel)


def _convolve_backward(strides, padding, dilation, precision, mirrored, saved, cotangent):
    image, kernel = saved
    settings = strides, padding, dilation, precision
    image_cotangent = _image_gradient(image.shape, kernel, cotangent, *settings, mirrored)
    shape = (*kernel.shape[:2], image.shape[3], cotangent.shape[3])
    kernel_cotangent = _kernel_gradient(image, cotangent, shape, *settings)
    return image_cotangent, _mirrored(kernel_cotangent) if mirrored else kernel_cotangent


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _image_gradient(image_shape, kernel, cotangent, strides, padding, dilation, precision, mirrored):
    """A convolution with the kernel mirrored, or no longer mirrored, where strides and dilation change places."""
    pads = _image_gradient_padding(image_shape, kernel.shape, cotangent.shape, strides, padding, dilation)
    return _convolve(cotangent, kernel, dilation, pads, strides, precision, not mirrored)


def _image_gradient_padding(image_shape, kernel_shape, cotangent_shape, strides, padding, dilation):
    """What lies around the cotangent, its pixels `strides` apart, so that each pixel meets every tap once."""
    pads = []
    for axis, (low, _) in enumerate(padding):
        before = kernel_shape[axis] - 1 - low
        wanted = (image_shape[axis + 1] - 1) * dilation[axis] + kernel_shape[axis]
        pads.append((before, wanted - before - (cotangent_shape[axis + 1] - 1) * strides[axis] - 1))
    return tuple(pads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5, 6))
def _kernel_gradient(image, cotangent, kernel_shape, strides, padding, dilation, precision):
    """The gradient of `_convolve` for a kernel of `kernel_shape` that is not mirrored."""
    settings = kernel_shape, strides, padding, dilation, precision
    return _by_platform(_kernel_product, _native_kernel, image, cotangent, *settings)


def _kernel_gradient_forward(image, cotangent, *settings):
    return _kernel_gradient(image, cotangent, *settings), (image, cotangent)


def _kernel_gradient_backward(kernel_shape, strides, padding, dilation, precision, saved, kernel):
    # It is linear in both: what it is given by stands where it stood in the convolution.
    image, cotangent = saved
    settings = strides, padding, dilation, precision
    return _image_gradient(image.shape, kernel, cotangent, *settings, False), _convolve(image, kernel, *settings, False)


_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def _native_kernel(image, cotangent, kernel_shape, strides, padding, dilation, precision):
    def forward(kernel):
        return _native(image, kernel, strides, padding, dilation, precision, False)

    return jax.linear_transpose(forward, jax.ShapeDtypeStruct(kernel_shape, image.dtype))(cotangent)[0]


def _product(image, kernel, strides, padding, dilation, precision, mirrored):
    """The convolution [N, H_out, W_out, O] on a CPU: Winograd's, XLA's own, or products of patches."""
    output_size = _output_sizes(image.shape, kernel.shape, strides, padding, dilation)
    if _suits_winograd(image, kernel.shape, strides, dilation, output_size, mirrored):
        return winograd.convolve(image, kernel, padding, output_size, precision, mirrored)
    kernel = _mirrored(kernel) if mirrored else kernel
    if dilation != (1, 1):
        return _dilated_product(image, kernel, padding, dilation, precision)
    if min(output_size) >= _NATIVE_SIDE * max(strides) and image.dtype.itemsize >= 4:
        if min(*padding[0], *padding[1]) < 0:  # XLA's CPU convolution is wrong for some of these (jax 0.10)
            image, padding = pad(image, padding), ((0, 0), (0, 0))
        features = kernel.shape[3]
        if strides == (1, 1):
            image, kernel, padding = _join(image, kernel, padding, output_size[1])
        output = _native_of_each(image, kernel, strides, padding, precision)
        return output.reshape(image.shape[0], *output_size, features)
    return patches.convolve(image, kernel, strides, padding, output_size, precision)


def _native_of_each(image, kernel, strides, padding, precision):
    """`_native`; under `jax.vmap` over kernels one after the other: XLA's grouped convolution is slow on a CPU."""

    @jax.custom_batching.custom_vmap
    def convolve(image, kernel):
        return _native(image, kernel, strides, padding, (1, 1), precision, False)

    @convolve.def_vmap
    def _(size, batched, images, kernels):
        if batched[1]:
            images = images if batched[0] else jnp.broadcast_to(images, (size, *images.shape))
            return lax.map(lambda pair: convolve(*pair), (images, kernels)), True
        output = convolve(images.reshape(-1, *images.shape[2:]), kernels)
        return output.reshape(size, -1, *output.shape[1:]), True

    return convolve(image, kernel)


def _suits_winograd(image, kernel_shape, strides, dilation, output_size, mirrored):
    """Whether Winograd's convolution is exact enough, and on two cores was the fastest, with its gradients."""
    *kernel_size, channels, features = kernel_shape
    positions = image.shape[0] * output_size[0] * output_size[1]
    return (
        tuple(kernel_size) == (3, 3)
        and strides == dilation == (1, 1)
        and image.dtype.itemsize >= 4
        and min(channels, features) >= _WINOGRAD_CHANNELS
        and channels * features >= _WINOGRAD_KERNEL
        # For fewer the kernel's transform costs more than it saves, but less than a mirrored kernel's copy.
        and (mirrored or positions >= _WINOGRAD_POSITIONS)
    )


def _join(image, kernel, padding, width):
    """A convolution of few channels, to `width` columns, as one of more channels and fewer columns.

    Returns:
      The image [N, H, W / p, p * C], the kernel [h, w', p * C, p * O] and the padding; p is 1 where this is no gain.
    """
    kernel_height, kernel_width, channels, features = kernel.shape
    for pixels in _JOINED if kernel_height * kernel_width > 1 else ():
        whole = image.shape[2] % pixels == 0 and width % pixels == 0
        if whole and max(channels, features) <= _JOINED_CHANNELS and pixels**2 * channels * features <= _JOINED_KERNEL:
            break
    else:
        return image, kernel, padding
    low = padding[1][0]
    first, last = -low // pixels, (pixels + kernel_width - 2 - low) // pixels  # the blocks that a block's windows meet
    blocks = last - first + 1
    starts = [pixel - low - first * pixels for pixel in range(pixels)]
    kernels = [
        jnp.pad(kernel, ((0, 0), (start, blocks * pixels - kernel_width - start), (0, 0), (0, 0))) for start in starts
    ]
    kernel = jnp.stack(kernels, axis=3).reshape(kernel_height, blocks, pixels * channels, pixels * features)
    columns = image.shape[2] // pixels
    # Compiled together with the reshape, what makes the image (pooling's gradient) takes several times as long.
    image = lax.optimization_barrier(image).reshape(*image.shape[:2], columns, pixels * channels)
    return image, kernel, (padding[0], (-first, width // pixels + blocks - 1 + first - columns))


def _kernel_product(image, cotangent, kernel_shape, strides, padding, dilation, precision):
    """The gradient for the kernel [h, w, C, O] on a CPU: Winograd's, or a product of patches."""
    if dilation != (1, 1):
        # Every pixel meets the mirrored taps in the output, `dilation` apart: image and output change places.
        height, width, channels, features = kernel_shape
        padding = _image_gradient_padding(image.shape, kernel_shape, cotangent.shape, (1, 1), padding, dilation)
        swapped = (height, width, features, channels)
        return _mirrored(patches.kernel_gradient(cotangent, image, swapped, dilation, padding, precision))
    if _suits_winograd(image, kernel_shape, strides, dilation, cotangent.shape[1:3], False):
        return winograd.kernel_gradient(image, cotangent, padding, precision)
    return patches.kernel_gradient(image, cotangent, kernel_shape, strides, padding, precision)


def _phases(size: int, kernel: int, output: int, padding: tuple[int, int], dilation: int) -> Iterator[tuple]:
    """The outputs q * dilation + phase of a dilated axis: each is a plain convolution with every dilation-th tap.

    Yields for each phase the first tap and the padding for which that convolution gives ceil(output / dilation) values,
    some past the end; (None, None) where no tap meets a pixel.
    """
    outputs = -(-output // dilation)
    for phase in range(dilation):
        first = (padding[0] - phase) % dilation
        taps = len(range(first, kernel, dilation))
        if not taps:
            yield None, None
            continue
        low = (padding[0] - phase - first) // dilation
        yield first, (low, outputs + taps - 1 - size - low)


def _dilated_product(image, kernel, padding, dilation, precision):
    """The convolution of a dilated image, without multiplying the zeros between its pixels."""
    sizes = _output_sizes(image.shape, kernel.shape, (1, 1), padding, dilation)
    rows, columns = (
        list(_phases(image.shape[axis + 1], kernel.shape[axis], sizes[axis], padding[axis], dilation[axis]))
        for axis in (0, 1)
    )
    count = [-(-size // d) for size, d in zip(sizes, dilation, strict=True)]
    blank = jnp.zeros((image.shape[0], *count, kernel.shape[3]), image.dtype)
    parts = [
        blank
        if i is None or j is None
        else _product(
            image, kernel[i :: dilation[0], j :: dilation[1]], (1, 1), (pad_i, pad_j), (1, 1), precision, False
        )
        for i, pad_i in rows
        for j, pad_j in columns
    ]
    output = jnp.stack(parts, axis=3).reshape(image.shape[0], *count, *dilation, kernel.shape[3])
    output = output.transpose(0, 1, 3, 2, 4, 5).reshape(
        image.shape[0], count[0] * dilation[0], count[1] * dilation[1], kernel.shape[3]
    )
    return output[:, : sizes[0], : sizes[1]]
