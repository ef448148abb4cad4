"""Two-dimensional convolution: on CPU the faster of XLA's own and matrix products, elsewhere the platform's own.

Only three maps exist: the convolution, and its two gradients (for the image it is again a convolution).
`jax.custom_vjp` keeps them apart, so that the backward pass saves the image and not its patches, and so that XLA's own
gradients, which are slow on a CPU, are never asked for. Second derivatives work in reverse mode over reverse mode;
forward mode (`jax.jvp`, `jax.hessian`) does not pass through.

On CPU a convolution of float32 images of some size with stride 1 is XLA's own. On small maps with many channels that
one is slow (by far, for 2x2 pixels and 1024 channels), with a stride it is rarely faster, and its gradient for the
kernel is slow. These are `patches @ kernel` (im2col), band by band: see `btjax.nn.bands`.

Few channels leave a core's vectors, and its products, mostly empty. Neighbouring pixels of a row then count as further
channels: the image is only reshaped, and the kernel is repeated for each of them, with zeros between.
"""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from btjax.nn.bands import Bands, pad

_NHWC = ("NHWC", "HWIO", "NHWC")
_NATIVE_SIDE = 8  # pixels; on smaller maps XLA's own convolution is the slower one on a CPU
_LARGE_MAP, _MANY_TAPS = 1024, 5  # pixels of the output, of the kernel: from here on the channels go first
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
      float [N, H_out, W_out, O], equal to `jax.lax.conv_general_dilated` up to the order of summation.
    """
    strides, dilation = tuple(window_strides), tuple(lhs_dilation or (1, 1))
    covered = (
        lhs.ndim == 4
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
        covered = min(_output_sizes(lhs.shape, rhs.shape, strides, padding, dilation)) > 0 and 0 not in lhs.shape
    if not covered:
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
    return _convolve(lhs, rhs, strides, padding, dilation, precision)


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


def _native(image, kernel, strides, padding, dilation, precision):
    return lax.conv_general_dilated(image, kernel, strides, padding, dilation, None, _NHWC, precision=precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _convolve(image, kernel, strides, padding, dilation, precision):
    settings = {"strides": strides, "padding": padding, "dilation": dilation, "precision": precision}
    return lax.platform_dependent(
        image, kernel, cpu=functools.partial(_product, **settings), default=functools.partial(_native, **settings)
    )


def _convolve_forward(image, kernel, strides, padding, dilation, precision):
    return _convolve(image, kernel, strides, padding, dilation, precision), (image, kernel)


def _convolve_backward(strides, padding, dilation, precision, saved, cotangent):
    image, kernel = saved
    # For the image: strides and dilation change places, and the padding lets every pixel meet every tap once.
    pads = []
    for axis, (low, _) in enumerate(padding):
        before = kernel.shape[axis] - 1 - low
        wanted = (image.shape[axis + 1] - 1) * dilation[axis] + kernel.shape[axis]
        pads.append((before, wanted - before - (cotangent.shape[axis + 1] - 1) * strides[axis] - 1))
    image_cotangent = _convolve(cotangent, _mirrored(kernel), dilation, tuple(pads), strides, precision)

    settings = {
        "kernel_shape": kernel.shape,
        "strides": strides,
        "padding": padding,
        "dilation": dilation,
        "precision": precision,
    }
    kernel_cotangent = lax.platform_dependent(
        image,
        cotangent,
        cpu=functools.partial(_kernel_product, **settings),
        default=functools.partial(_native_kernel, **settings),
    )
    return image_cotangent, kernel_cotangent


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _native_kernel(image, cotangent, kernel_shape, strides, padding, dilation, precision):
    def forward(kernel):
        return _native(image, kernel, strides, padding, dilation, precision)

    return jax.linear_transpose(forward, jax.ShapeDtypeStruct(kernel_shape, image.dtype))(cotangent)[0]


def _product(image, kernel, strides, padding, dilation, precision):
    """The convolution [N, H_out, W_out, O] on a CPU: XLA's own, or matrix products band by band."""
    if dilation != (1, 1):
        return _dilated_product(image, kernel, padding, dilation, precision)
    height, width = _output_sizes(image.shape, kernel.shape, strides, padding, dilation)
    if strides == (1, 1) and min(height, width) >= _NATIVE_SIDE and image.dtype.itemsize >= 4:
        features = kernel.shape[3]
        if min(*padding[0], *padding[1]) < 0:  # XLA's CPU convolution is wrong for some of these (jax 0.10)
            image, padding = pad(image, padding), ((0, 0), (0, 0))
        image, kernel, padding = _join(image, kernel, padding, width)
        output = _native(image, kernel, strides, padding, dilation, precision)
        return output.reshape(image.shape[0], height, width, features)
    bands = Bands(image, kernel.shape, strides, padding, height, width)
    matrix = kernel.reshape(-1, kernel.shape[3])

    def multiply(index):
        return jnp.einsum("nhwk,ko->nhwo", bands.patches(index), matrix, precision=precision)

    if bands.count == 1:
        return multiply(0)

    def body(index, output):
        return lax.dynamic_update_slice(output, multiply(index)[:, None], bands.start(index))

    shape = (bands.images, bands.groups, height, width, kernel.shape[3])
    output = lax.fori_loop(0, bands.count, body, jnp.zeros(shape, image.dtype))
    return output.reshape(-1, *shape[2:])


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
    """The gradient for the kernel [h, w, C, O]: patches transposed times the output's cotangent, summed over bands."""
    if dilation != (1, 1):
        return _dilated_kernel_product(image, cotangent, kernel_shape, padding, dilation, precision)
    _, height, width, features = cotangent.shape
    # With the channels first, the pixels that a product sums over lie side by side, as do those that patches copy, and
    # products of several images are computed at once. Small maps make them too small, and for few taps the image's
    # transposition costs more than it wins.
    channels_first = height * width >= _LARGE_MAP and kernel_shape[0] * kernel_shape[1] >= _MANY_TAPS
    bands = Bands(image, kernel_shape, strides, padding, height, width, channels_first)
    cotangent = cotangent.reshape(bands.images, bands.groups, height, width, features)
    # Bands are added up in float32: in bfloat16 a sum over many bands would lose what each adds.
    wide = jnp.float32 if image.dtype.itemsize < 4 else image.dtype
    multiply_add = functools.partial(jnp.einsum, precision=precision, preferred_element_type=wide)

    def multiply(index):
        size = (bands.images, 1, bands.rows, width, features)
        band = lax.dynamic_slice(cotangent, bands.start(index), size)[:, 0]
        if channels_first:
            return multiply_add("nkhw,nhwo->nko", bands.patches(index), band).sum(axis=0)
        return multiply_add("nhwk,nhwo->ko", bands.patches(index), band)

    if bands.count == 1:
        total = multiply(0)
    else:
        total = lax.fori_loop(1, bands.count, lambda index, total: total + multiply(index), multiply(0))
    return total.astype(image.dtype).reshape(kernel_shape)


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


def _dilated_phases(image_shape, kernel_shape, output_sizes, padding, dilation):
    """The two axes' `_phases`, each a list."""
    return [
        list(_phases(image_shape[axis + 1], kernel_shape[axis], output_sizes[axis], padding[axis], dilation[axis]))
        for axis in (0, 1)
    ]


def _dilated_product(image, kernel, padding, dilation, precision):
    """The convolution of a dilated image, without multiplying the zeros between its pixels."""
    sizes = _output_sizes(image.shape, kernel.shape, (1, 1), padding, dilation)
    rows, columns = _dilated_phases(image.shape, kernel.shape, sizes, padding, dilation)
    count = [-(-size // d) for size, d in zip(sizes, dilation, strict=True)]
    blank = jnp.zeros((image.shape[0], *count, kernel.shape[3]), image.dtype)
    parts = [
        blank
        if i is None or j is None
        else _product(image, kernel[i :: dilation[0], j :: dilation[1]], (1, 1), (pad_i, pad_j), (1, 1), precision)
        for i, pad_i in rows
        for j, pad_j in columns
    ]
    output = jnp.stack(parts, axis=3).reshape(image.shape[0], *count, *dilation, kernel.shape[3])
    output = output.transpose(0, 1, 3, 2, 4, 5).reshape(
        image.shape[0], count[0] * dilation[0], count[1] * dilation[1], kernel.shape[3]
    )
    return output[:, : sizes[0], : sizes[1]]


def _dilated_kernel_product(image, cotangent, kernel_shape, padding, dilation, precision):
    """The gradient of `_dilated_product` for the kernel: each phase gives its own taps."""
    sizes = cotangent.shape[1:3]
    rows, columns = _dilated_phases(image.shape, kernel_shape, sizes, padding, dilation)
    # Whole blocks of phases: the outputs past the end have no cotangent.
    fill = [(0, -size % d) for size, d in zip(sizes, dilation, strict=True)]
    cotangent = jnp.pad(cotangent, ((0, 0), *fill, (0, 0)))
    total = jnp.zeros(kernel_shape, image.dtype)
    for phase_i, (i, pad_i) in enumerate(rows):
        for phase_j, (j, pad_j) in enumerate(columns):
            if i is None or j is None:
                continue
            part = cotangent[:, phase_i :: dilation[0], phase_j :: dilation[1]]
            taps = total[i :: dilation[0], j :: dilation[1]].shape
            gradient = _kernel_product(image, part, taps, (1, 1), (pad_i, pad_j), (1, 1), precision)
            total = total.at[i :: dilation[0], j :: dilation[1]].set(gradient)
    return total
