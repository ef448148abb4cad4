"""From uint8 slices to a network's input: colour and scale, pure functions for the compiled step."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from btjax.base.drawing import import_matplotlib
from btjax.base.errors import InputError
from btjax.base.options import option

CHANNELS = {"grey": 1, "grey3": 3, "viridis": 3}

IMAGENET_SCALES = ("caffe", "torch")
_CAFFE_MEANS_BGR = np.array([103.939, 116.779, 123.68], np.float32)
_TORCH_MEANS = np.array([0.485, 0.456, 0.406], np.float32)
_TORCH_DEVIATIONS = np.array([0.229, 0.224, 0.225], np.float32)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How grey uint8 slices become a network's input; it travels with the weights that were trained under it.

    The paper's copy of the data set has the viridis colour map baked in, which is why it speaks of colour; it does not
    say how its inputs were scaled.
    """

    colour: str = option(
        "viridis",
        "channels of the input: grey (one), grey3 (three equal ones) or viridis (three, the paper's)",
        choices=tuple(CHANNELS),
    )
    scale: str = option(
        "unit",
        "range of the input: unit [0, 1], signed [-1, 1], standard (each slice to mean 0, deviation 1), or what "
        "published ImageNet weights expect, by Keras's names: caffe (BGR, means subtracted) or torch (RGB, mean and "
        "deviation)",
        choices=("unit", "signed", "standard", *IMAGENET_SCALES),
    )

    def __post_init__(self):
        if self.scale in IMAGENET_SCALES and self.channels != 3:
            raise InputError(f"--scale={self.scale}: works on three channels, expected --colour=grey3 or viridis")

    @property
    def channels(self) -> int:
        """Number of channels of the input."""
        return CHANNELS[self.colour]

    def __call__(self, images: jax.Array) -> jax.Array:
        """Turns grey slices into network input.

        Args:
          images: uint8 [B, S, S], or float32 [B, S, S] in [0, 255] (what `Augmentation` returns).

        Returns:
          float32 [B, S, S, channels].
        """
        return scale_inputs(self._colours(images), self.scale)

    def black(self, images: jax.Array) -> jax.Array:
        """The network input of a black pixel, one of grey level 0, of each slice.

        Under the scale `standard` it depends on the slice's own mean and deviation.

        Args:
          images: uint8 [B, S, S], or float32 [B, S, S] in [0, 255].

        Returns:
          float32 [B, 1, 1, channels]: what `__call__` gives at the slice's pixels that are 0.
        """
        black = self._colours(jnp.zeros((len(images), 1, 1), images.dtype))
        return scale_inputs(black, self.scale, self._colours(images))

    def _colours(self, images: jax.Array) -> jax.Array:
        """Grey levels [B, H, W] as float32 [B, H, W, channels] in [0, 1]."""
        if self.colour == "viridis":
            return viridis(images)
        inputs = images.astype(jnp.float32)[..., None] / np.float32(255)
        return jnp.broadcast_to(inputs, (*images.shape, self.channels))


def scale_inputs(inputs: jax.Array, scale: str, whole: jax.Array | None = None) -> jax.Array:
    """Scales colours as a network expects them.

    Args:
      inputs: float32 [B, H, W, channels] in [0, 1], RGB where there are three channels.
      scale: see `Preprocessing.scale`.
      whole: float32 [B, S, S, channels], the slices whose mean and deviation `standard` takes; by default `inputs`.

    Returns:
      float32 [B, H, W, channels]; BGR for the scale `caffe`.
    """
    if scale == "signed":
        return inputs * 2 - 1
    if scale == "standard":
        whole = inputs if whole is None else whole
        mean = whole.mean(axis=(1, 2, 3), keepdims=True)
        return (inputs - mean) / (whole.std(axis=(1, 2, 3), keepdims=True) + np.float32(1e-6))
    if scale == "caffe":
        return inputs[..., ::-1] * np.float32(255) - jnp.expand_dims(_CAFFE_MEANS_BGR, (0, 1, 2))
    if scale == "torch":
        return (inputs - jnp.expand_dims(_TORCH_MEANS, (0, 1, 2))) / jnp.expand_dims(_TORCH_DEVIATIONS, (0, 1, 2))
    return inputs


@functools.cache
def viridis_table() -> np.ndarray:
    """uint8 [256, 3]: the colours of matplotlib's viridis; 104 and 105 share one, and so do 137 and 138."""
    import_matplotlib()
    import matplotlib

    return matplotlib.colormaps["viridis"](np.arange(256), bytes=True)[:, :3].copy()


def viridis(images: jax.Array) -> jax.Array:
    """The viridis colours of grey levels, as matplotlib's 256-entry table has them.

    Args:
      images: uint8 [...], or floating [...] in [0, 255], rounded to the nearest level.

    Returns:
      float32 [..., 3] in [0, 1].
    """
    table = jnp.asarray(viridis_table(), jnp.float32)
    levels = images if images.dtype == jnp.uint8 else jnp.round(images).astype(jnp.uint8)
    return jnp.take(table, levels.astype(jnp.int32), axis=0) / np.float32(255)
