"""Random changes of training slices and of their masks, pure functions for the compiled step."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from btjax.base.keys import random_key
from btjax.base.options import option

_BENDS = 8
"""Points along the side of the coarse grid whose random shifts bend a slice."""


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
    elastic: float = option(
        0.0,
        "bend a training slice: random shifts of an 8 x 8 grid, their standard deviation this share of the side, and "
        "smooth shifts between",
        minimum=0,
        maximum=0.2,
    )
    intensity: float = option(
        0.0,
        "scale and offset a training slice's intensity by up to this share, either way; the scale `standard` undoes it",
        minimum=0,
        maximum=1,
    )
    gamma: float = option(
        0.0,
        "raise a training slice's grey levels, as shares of white, to a power of up to 1 + this, or down to "
        "1 / (1 + this)",
        minimum=0,
        maximum=4,
    )
    cutout: float = option(
        0.0,
        "black out a square of this share of a training slice's side, at a random place; a tumour's pixels stay where "
        "the training knows the masks",
        minimum=0,
        maximum=0.9,
    )

    @property
    def active(self) -> bool:
        """Whether anything is on."""
        return bool(self._moves or self.intensity or self.gamma or self.cutout)

    @property
    def _moves(self) -> bool:
        """Whether pixels change their places."""
        return bool(self.flip or self.rotation or self.shift or self.zoom or self.elastic)

    def __call__(self, images: jax.Array, key: jax.Array) -> jax.Array:
        """Augments a batch; one sampling, bilinear, with zeros outside the slice.

        Args:
          images: uint8 [B, S, S].
          key: a random key.

        Returns:
          uint8 [B, S, S] where nothing is on, else float32 [B, S, S] in [0, 255].
        """
        return self._changed(images, None, key)[0]

    def with_masks(self, images: jax.Array, masks: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Augments a batch and its masks by the same maps.

        Args:
          images: uint8 [B, S, S].
          masks: bool [B, S, S].
          key: a random key.

        Returns:
          What `__call__` gives for the images and the key, but that no tumour is cut out; and bool [B, S, S], each mask
          at the pixels nearest to the places that the image is sampled at, False outside the slice.
        """
        changed, moved = self._changed(images, masks, key)
        return changed, masks if moved is None else moved

    def _changed(
        self, images: jax.Array, masks: jax.Array | None, key: jax.Array
    ) -> tuple[jax.Array, jax.Array | None]:
        """The batch changed, and its masks moved along."""
        geometry, brightness = jax.random.split(key)
        count, size = images.shape[:2]
        if self._moves:
            matrices, shifts = self._draw_affine(count, geometry)
            bends = self._draw_bends(count, size, random_key(key, "elastic")) if self.elastic else None
            images = sample_affine(images, matrices, shifts, bends)
            if masks is not None:
                masks = sample_affine(masks, matrices, shifts, bends, order=0) > 0.5
        if self.intensity:
            gain, offset = jax.random.uniform(
                brightness, (2, count, 1, 1), minval=-self.intensity, maxval=self.intensity
            )
            images = jnp.clip(images.astype(jnp.float32) * (1 + gain) + 255 * offset, 0, 255)
        if self.gamma:
            powers = jax.random.uniform(random_key(key, "gamma"), (count, 1, 1), minval=-1)
            power = jnp.exp(np.float32(np.log1p(self.gamma)) * powers)
            images = 255 * (images.astype(jnp.float32) / 255) ** power
        if self.cutout:
            cut = self._draw_squares(count, size, random_key(key, "cutout"))
            cut = cut if masks is None else cut & ~masks
            images = jnp.where(cut, jnp.float32(0), images.astype(jnp.float32))
        return images, masks

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

    def _draw_bends(self, count: int, size: int, key: jax.Array) -> jax.Array:
        """Smooth random shifts of every pixel, float32 [B, 2, S, S], in units of the slice's side."""
        coarse = jax.random.normal(key, (count, 2, _BENDS, _BENDS))
        return self.elastic * jax.image.resize(coarse, (count, 2, size, size), "cubic")

    def _draw_squares(self, count: int, size: int, key: jax.Array) -> jax.Array:
        """A square of each slice that lies wholly in it, bool [B, S, S]."""
        side = round(self.cutout * size)
        first = jax.random.randint(key, (count, 2, 1), 0, size - side + 1)
        places = jnp.arange(size)[None, None]
        inside = (places >= first) & (places < first + side)
        return inside[:, 0, :, None] & inside[:, 1, None, :]


def sample_affine(
    images: jax.Array, matrices: jax.Array, shifts: jax.Array, bends: jax.Array | None = None, *, order: int = 1
) -> jax.Array:
    """Samples each slice at an affine map of its pixel grid, about the slice's centre.

    Args:
      images: bool, uint8 or float32 [B, S, S].
      matrices: float32 [B, 2, 2], from output (row, column) offsets to input offsets.
      shifts: float32 [B, 2], added to the input position, in units of S.
      bends: float32 [B, 2, S, S], added to each pixel's input position, in units of S; None for none.
      order: 1 for bilinear sampling, 0 for the nearest pixel.

    Returns:
      float32 [B, S, S]; zero where the position lies outside the slice.
    """
    size = images.shape[1]
    offsets = jnp.arange(size, dtype=jnp.float32) - np.float32((size - 1) / 2)

    def sample(image, matrix, shift, bend):
        grid = matrix[:, 0, None, None] * offsets[None, :, None] + matrix[:, 1, None, None] * offsets[None, None, :]
        position = grid + shift[:, None, None] * size + np.float32((size - 1) / 2)
        position = position if bend is None else position + bend * size
        return jax.scipy.ndimage.map_coordinates(image.astype(jnp.float32), list(position), order=order, cval=0.0)

    return jax.vmap(sample)(images, matrices, shifts, bends)
