"""The lowerings of a convolution and of its gradient for the kernel: one set for CPU, the platform's own for the rest.

On CPU, in float32 and float64, 3x3 kernels with many channels use Winograd's algorithm (`btjax.nn.winograd`), in the
gradients too. Other convolutions with large enough outputs use XLA's. XLA's convolution is slow on small maps (very
slow for 2x2 pixels and 1024 channels), and so is its gradient for the kernel on any map; these are computed as products
of patches (`btjax.nn.patches`). `scripts/bench` measures them.

With few channels most of a core's vector registers would stay empty. Neighbouring columns are then folded into the
channels: the image is only reshaped, and the kernel is repeated for each column, padded with zeros.

Tried on the U-Net's strided and transposed layers, and left because its whole step gained a few per cent at best: the
kernel's gradient as a product for each tap, for each row of taps, over the four phases of the image without copies, and
by XLA as a dilated convolution; products of patches by SciPy's BLAS; oneDNN's convolutions, by XLA's flags; bfloat16 on
a processor that has instructions for it; normalisation by two sums, and an activation with a gradient of its own.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from btjax.nn import patches, winograd
from btjax.nn.bands import pad
from btjax.nn.window import NHWC, Pair, Window

_NATIVE_SIDE = 8  # output pixels a side, times the stride, from which XLA's convolution is faster than patches on a CPU
_WINOGRAD_CHANNELS, _WINOGRAD_KERNEL = 64, 1 << 14  # least channels in and out each, and their product
_WINOGRAD_POSITIONS = 192  # least output pixels of the batch
_FOLDS = (4, 2)  # columns folded into the channels; the first that suits is taken
_FOLDED_CHANNELS, _FOLDED_KERNEL = 16, 512  # most channels before folding, most channels in times out after it


def mirror(kernel: jax.Array) -> jax.Array:
    """The kernel [h, w, C, O] flipped along height and width, channel axes swapped: [h, w, O, C]."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def native(image: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The convolution, by the platform's own lowering.

    Args:
      image: float [N, H, W, C].
      kernel: [h, w, C, O], of the image's dtype.
      window: of the convolution.

    Returns:
      [N, H_out, W_out, O], of the image's dtype.
    """
    return lax.conv_general_dilated(
        image,
        kernel,
        window.strides,
        window.padding,
        lhs_dilation=window.dilation,
        dimension_numbers=NHWC,
        precision=window.precision,
    )


def native_kernel_gradient(image: jax.Array, cotangent: jax.Array, kernel_size: Pair, window: Window) -> jax.Array:
    """The gradient of `native` for the kernel, by the platform's own lowering.

    Args:
      image: float [N, H, W, C].
      cotangent: of the output, [N, H_out, W_out, O].
      kernel_size: (height, width) of the kernel.
      window: of the convolution.

    Returns:
      [h, w, C, O], of the image's dtype.
    """
    kernel = jax.ShapeDtypeStruct((*kernel_size, image.shape[3], cotangent.shape[3]), image.dtype)
    return jax.linear_transpose(lambda kernel: native(image, kernel, window), kernel)(cotangent)[0]


def cpu(image: jax.Array, kernel: jax.Array, window: Window, mirrored: bool) -> jax.Array:
    """The convolution on a CPU: Winograd's algorithm, XLA's convolution, or products of patches.

    Args:
      image: float [N, H, W, C].
      kernel: [h, w, C, O]; [h, w, O, C] if `mirrored`; of the image's dtype.
      window: of the convolution.
      mirrored: convolve with `mirror(kernel)`; Winograd's algorithm does so without copying the kernel.

    Returns:
      [N, H_out, W_out, O], of the image's dtype.
    """
    output_size = window.output_size(image.shape[1:3], kernel.shape[:2])
    positions = image.shape[0] * output_size[0] * output_size[1]
    # For few positions, transforming the kernel costs more than the algorithm saves. It still costs less than the copy
    # of a mirrored kernel that the other lowerings need.
    if _suits_winograd(image, kernel.shape, window) and (mirrored or positions >= _WINOGRAD_POSITIONS):
        return winograd.convolve(image, kernel, window, mirrored)
    kernel = mirror(kernel) if mirrored else kernel
    if window.dilation != (1, 1):
        return _dilated_product(image, kernel, window)
    if min(output_size) >= _NATIVE_SIDE * max(window.strides) and image.dtype.itemsize >= 4:
        return _native_product(image, kernel, window)
    return patches.convolve(image, kernel, window)


def cpu_kernel_gradient(image: jax.Array, cotangent: jax.Array, kernel_size: Pair, window: Window) -> jax.Array:
    """The convolution's gradient for the kernel on a CPU: Winograd's algorithm, or products of patches.

    Args:
      image: float [N, H, W, C].
      cotangent: of the output, [N, H_out, W_out, O].
      kernel_size: (height, width) of the kernel.
      window: of the convolution.

    Returns:
      [h, w, C, O], of the image's dtype.
    """
    if window.dilation != (1, 1):
        # A convolution of a dilated image is the gradient of a strided one, whose image is our output and whose kernel
        # is our mirrored kernel. Image and cotangent therefore swap, and nothing is multiplied by the dilation's zeros.
        transposed = window.transposed(image.shape[1:3], kernel_size)
        return mirror(patches.kernel_gradient(cotangent, image, kernel_size, transposed))
    positions = cotangent.shape[0] * cotangent.shape[1] * cotangent.shape[2]
    kernel_shape = (*kernel_size, image.shape[3], cotangent.shape[3])
    if _suits_winograd(image, kernel_shape, window) and positions >= _WINOGRAD_POSITIONS:
        return winograd.kernel_gradient(image, cotangent, window)
    return patches.kernel_gradient(image, cotangent, kernel_size, window)


def _suits_winograd(image: jax.Array, kernel_shape: Sequence[int], window: Window) -> bool:
    """Whether Winograd's algorithm is exact enough and, measured on two cores with its gradients, the fastest."""
    *kernel_size, channels, features = kernel_shape
    return (
        tuple(kernel_size) == (3, 3)
        and window.strides == window.dilation == (1, 1)
        and image.dtype.itemsize >= 4
        and min(channels, features) >= _WINOGRAD_CHANNELS
        and channels * features >= _WINOGRAD_KERNEL
    )


def _native_product(image: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """XLA's convolution on a CPU; columns are folded into the channels where there are few."""
    output_size = window.output_size(image.shape[1:3], kernel.shape[:2])
    shape = (image.shape[0], *output_size, kernel.shape[3])
    if min(*window.padding[0], *window.padding[1]) < 0:  # XLA's CPU convolution is wrong for some of these (jax 0.10)
        image, window = pad(image, window.padding), dataclasses.replace(window, padding=((0, 0), (0, 0)))
    if window.strides == (1, 1):
        image, kernel, window = _fold_columns(image, kernel, window)
    return _native_one_by_one(image, kernel, window).reshape(shape)


def _native_one_by_one(image: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The same as `native`, looping over the kernels under `jax.vmap`: XLA's grouped convolution is slow on a CPU."""

    @jax.custom_batching.custom_vmap
    def convolve(image: jax.Array, kernel: jax.Array) -> jax.Array:
        return native(image, kernel, window)

    @convolve.def_vmap
    def _(size: int, batched: list[bool], images: jax.Array, kernels: jax.Array) -> tuple[jax.Array, bool]:
        if batched[1]:
            images = images if batched[0] else jnp.broadcast_to(images, (size, *images.shape))
            return lax.map(lambda pair: convolve(*pair), (images, kernels)), True
        output = convolve(images.reshape(-1, *images.shape[2:]), kernels)
        return output.reshape(size, -1, *output.shape[1:]), True

    return convolve(image, kernel)


def _fold_columns(image: jax.Array, kernel: jax.Array, window: Window) -> tuple[jax.Array, jax.Array, Window]:
    """The same convolution, of stride 1, with p times fewer columns and p times more channels.

    p neighbouring columns form a block, whose pixels become the channels of one column. The kernel gets p * O features:
    one copy of it for each column of an output block, shifted to the input pixels that this column reads.

    Returns:
      The image [N, H, W / p, p * C], the kernel [h, w', p * C, p * O] and their window; the arguments if no p in
      `_FOLDS` suits.
    """
    height, width, channels, features = kernel.shape
    output_width = window.output_size(image.shape[1:3], (height, width))[1]
    fold = next((fold for fold in _FOLDS if _suits_fold(fold, image.shape[2], output_width, kernel.shape)), None)
    if fold is None:
        return image, kernel, window
    rows, (left, _) = window.padding
    # The first output block reads the input blocks `first` to `last`; block 0 begins at the image's left edge.
    first, last = -left // fold, (fold + width - 2 - left) // fold
    blocks = last - first + 1
    starts = [column - left - first * fold for column in range(fold)]
    kernels = [jnp.pad(kernel, ((0, 0), (start, blocks * fold - width - start), (0, 0), (0, 0))) for start in starts]
    kernel = jnp.stack(kernels, axis=3).reshape(height, blocks, fold * channels, fold * features)
    columns = image.shape[2] // fold
    # Fused with this reshape, the computation of the image (pooling's gradient) takes several times as long.
    image = lax.optimization_barrier(image).reshape(*image.shape[:2], columns, fold * channels)
    pads = (-first, output_width // fold + blocks - 1 + first - columns)
    return image, kernel, dataclasses.replace(window, padding=(rows, pads))


def _suits_fold(fold: int, width: int, output_width: int, kernel_shape: Sequence[int]) -> bool:
    """Whether blocks of `fold` columns fit both widths, and are faster than single columns."""
    kernel_height, kernel_width, channels, features = kernel_shape
    return (
        kernel_height * kernel_width > 1
        and width % fold == output_width % fold == 0
        and max(channels, features) <= _FOLDED_CHANNELS
        and fold**2 * channels * features <= _FOLDED_KERNEL
    )


def _dilated_product(image: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The convolution of a dilated image on a CPU, without multiplying by the zeros between its pixels."""
    count, *image_size, _ = image.shape
    features, dilation = kernel.shape[3], window.dilation
    height, width = window.output_size(image_size, kernel.shape[:2])
    rows, columns = (
        list(_phases(image_size[axis], kernel.shape[axis], size, window.padding[axis], dilation[axis]))
        for axis, size in enumerate((height, width))
    )
    sizes = -(-height // dilation[0]), -(-width // dilation[1])
    blank = jnp.zeros((count, *sizes, features), image.dtype)

    def part(row: tuple[int, Pair] | None, column: tuple[int, Pair] | None) -> jax.Array:
        if row is None or column is None:
            return blank
        taps = kernel[row[0] :: dilation[0], column[0] :: dilation[1]]
        return cpu(image, taps, Window(padding=(row[1], column[1]), precision=window.precision), False)

    parts = [part(row, column) for row in rows for column in columns]
    output = jnp.stack(parts, axis=3).reshape(count, *sizes, *dilation, features).transpose(0, 1, 3, 2, 4, 5)
    return output.reshape(count, sizes[0] * dilation[0], sizes[1] * dilation[1], features)[:, :height, :width]


def _phases(size: int, kernel: int, output: int, padding: Pair, dilation: int) -> Iterator[tuple[int, Pair] | None]:
    """The plain convolutions along one axis that a dilated image's convolution consists of.

    Each computes the outputs q * dilation + phase, with every dilation-th tap of the kernel.

    Yields:
      For each phase its first tap and the padding with which the plain convolution has ceil(output / dilation) outputs
      (the last may lie past the end); None if no tap of this phase falls on a pixel.
    """
    outputs = -(-output // dilation)
    for phase in range(dilation):
        first = (padding[0] - phase) % dilation
        taps = len(range(first, kernel, dilation))
        if not taps:
            yield None
            continue
        low = (padding[0] - phase - first) // dilation
        yield first, (low, outputs + taps - 1 - size - low)
