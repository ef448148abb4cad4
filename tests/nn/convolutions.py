"""Convolutions to compare, and sizes at which small images take every path."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from btjax.nn import lowerings, patches, winograd
from btjax.nn.window import NHWC


def cut_small(patch, large_map=1024, limit=2000):
    """Bands of about `limit` bytes, so that small images too are cut along rows and batch."""
    patch.setattr(patches, "_LARGE_MAP", large_map)
    patch.setattr(patches, "_MANY_TAPS", 1)
    patch.setattr(patches, "_LARGE_BAND_IMAGES", 2)
    patch.setattr(patches, "_BAND_BYTES", limit)
    patch.setattr(patches, "_LARGE_BAND_BYTES", limit)
    patch.setattr(patches, "_KERNEL_SHARE", 0)


def winograd_everywhere(patch, positions=20):
    """Winograd's convolution for every 3x3 kernel, in bands of about `positions` outputs."""
    for name in ("_WINOGRAD_CHANNELS", "_WINOGRAD_KERNEL", "_WINOGRAD_POSITIONS"):
        patch.setattr(lowerings, name, 1)
    patch.setattr(winograd, "_POSITIONS", positions)


def values_and_gradients(convolve, image, kernel):
    """The output, and the gradients of a sum weighted differently at every output, in one compiled call."""

    @jax.jit
    def run(image, kernel):
        output, pull_back = jax.vjp(convolve, image, kernel)
        weights = jnp.cos(3 * jnp.arange(output.size, dtype=jnp.float32)).astype(output.dtype).reshape(output.shape)
        return output, *pull_back(weights)

    return run(image, kernel)


def assert_same(ours, theirs, image, kernel, tolerance=2e-5):
    for got, wanted in zip(
        values_and_gradients(ours, image, kernel), values_and_gradients(theirs, image, kernel), strict=True
    ):
        assert got.dtype == wanted.dtype and got.shape == wanted.shape
        got, wanted = np.asarray(got, np.float32), np.asarray(wanted, np.float32)
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance * max(1.0, np.abs(wanted).max()))


def compiled_text(function, *arrays):
    """The program that XLA compiled, as text."""
    text = function.lower(*arrays).compile().as_text()
    assert text
    return text


def draw(seed, *shapes, dtype=jnp.float32):
    """Standard normal arrays; by NumPy, which compiles nothing."""
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.normal(size=shape).astype(np.float32), dtype) for shape in shapes]


def plain(image, kernel, strides=(1, 1), padding: str | Sequence = "VALID", dilation=(1, 1)):
    """The native convolution of an image that is padded and dilated first.

    XLA's own gradient of a padded convolution can need a negative padding, which its CPU lowering gets wrong (jax
    0.10.2, padding wider than the kernel less one); this form never needs it.
    """
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(image.shape[1:3], kernel.shape[:2], strides, padding)
    spatial = [(low, high, d - 1) for (low, high), d in zip(padding, dilation, strict=True)]
    image = lax.pad(image, jnp.zeros((), image.dtype), [(0, 0, 0), *spatial, (0, 0, 0)])
    return lax.conv_general_dilated(image, kernel, strides, "VALID", dimension_numbers=NHWC)
