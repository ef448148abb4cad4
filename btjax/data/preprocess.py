"""From uint8 slices to a network's input: augmentation, colour and scale, pure functions for the compiled step."""

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


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random changes of a training slice, drawn again at each step. All off by default, as in the paper."""

    flip: bool = option(False, "mirror a training slice left to right with probability one half")
    rotation: float = option(
        0.0, "rotate a training slice by up to this many degrees either way", minimum=0, maximum=180
    )
    shift: float = option(0.0, "shift a training slice by up to this share of its side, each way", minimum=0, maximum=1)
    zoom: float = option(
        0.0, "zoom a training slice by a factor of up to 1 + this, or down to 1 / (1 + this)", minimum=0, maximum=1
    )
    intensity: float = option(
        0.0,
        "scale and offset a training slice's intensity by up to this share, either way; the scale `standard` undoes it",
        minimum=0,
        maximum=1,
    )

    @property
    def active(self) -> bool:
        """Whether anything is on."""
        return bool(self._moves or self.intensity)

    @property
    def _moves(self) -> bool:
        """Whether pixels change their places."""
        return bool(self.flip or self.rotation or self.shift or self.zoom)

    def __call__(self, images: jax.Array, key: jax.Array) -> jax.Array:
        """Augments a batch; one affine sampling, bilinear, with zeros outside the slice.

        Args:
          images: uint8 [B, S, S].
          key: a random key.

        Returns:
          uint8 [B, S, S] where nothing is on, else float32 [B, S, S] in [0, 255].
        """
        geometry, brightness = jax.random.split(key)
        if self._moves:
            images = sample_affine(images, *self._draw_affine(len(images), geometry))
        if self.intensity:
            gain, offset = jax.random.uniform(
                brightness, (2, len(images), 1, 1), minval=-self.intensity, maxval=self.intensity
            )
            images = jnp.clip(images.astype(jnp.float32) * (1 + gain) + 255 * offset, 0, 255)
        return images

    def with_masks(self, images: jax.Array, masks: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Augments a batch and its masks by the same affine maps.

        Args:
          images: uint8 [B, S, S].
          masks: bool [B, S, S].
          key: a random key.

        Returns:
          What `__call__` gives for the images and the key; and bool [B, S, S], each mask at the pixels nearest to the
          places that the image is sampled at, False outside the slice.
        """
        augmented = self(images, key)
        if self._moves:
            geometry, _ = jax.random.split(key)
            masks = sample_affine(masks, *self._draw_affine(len(images), geometry), order=0) > 0.5
        return augmented, masks

    def _draw_affine(self, count: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Random matrices float32 [B, 2, 2] and shifts float32 [B, 2], in units of the slice's side."""
        flip, angle, zoom, shift = jax.random.split(key, 4)
        angle = jnp.deg2rad(self.rotation) * jax.random.uniform(angle, (count,), minval=-1)
        scale = jnp.exp(np.float32(np.log1p(self.zoom)) * jax.random.uniform(zoom, (count,), minval=-1))
        mirror = 1 - 2 * jax.random.bernoulli(flip, 0.5 if self.flip else 0.0, (count,)).astype(jnp.float32)
        rows = jnp.stack([jnp.cos(angle), -jnp.sin(angle) * mirror], axis=-1)
        columns = jnp.stack([jnp.sin(angle), jnp.cos(angle) * mirror], axis=-1)
        matrices = jnp.stack([rows, columns], axis=-2) / scale[:, None, None]
        return matrices, self.shift * jax.random.uniform(shift, (count, 2), minval=-1)


def sample_affine(images: jax.Array, matrices: jax.Array, shifts: jax.Array, *, order: int = 1) -> jax.Array:
    """Samples each slice at an affine map of its pixel grid, about the slice's centre.

    Args:
      images: bool, uint8 or float32 [B, S, S].
      matrices: float32 [B, 2, 2], from output (row, column) offsets to input offsets.
      shifts: float32 [B, 2], added to the input position, in units of S.
      order: 1 for bilinear sampling, 0 for the nearest pixel.

    Returns:
      float32 [B, S, S]; zero where the position lies outside the slice.
    """
    size = images.shape[1]
    offsets = jnp.arange(size, dtype=jnp.float32) - np.float32((size - 1) / 2)

    def sample(image, matrix, shift):
        grid = matrix[:, 0, None, None] * offsets[None, :, None] + matrix[:, 1, None, None] * offsets[None, None, :]
        position = grid + shift[:, None, None] * size + np.float32((size - 1) / 2)
        return jax.scipy.ndimage.map_coordinates(image.astype(jnp.float32), list(position), order=order, cval=0.0)

    return jax.vmap(sample)(images, matrices, shifts)
