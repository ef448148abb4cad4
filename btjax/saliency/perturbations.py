"""Saliency from the classifier's output when parts of an image are hidden; no gradient is needed.

Every method is `attribute(logits, images, targets, key, *, options) -> maps`, as in `btjax.saliency.gradients`. Each
takes a forward pass for every mask and image.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from btjax.base.errors import InputError
from btjax.saliency.classifier import Logits, target_scores
from btjax.saliency.inputs import as_baseline
from btjax.saliency.samples import CHUNK, image_keys, mean_over_samples


def occlusion(
    logits: Logits,
    images: jax.Array,
    targets: jax.Array,
    key: jax.Array,
    *,
    window: int | None = None,
    stride: int | None = None,
    baseline: jax.Array | float = 0.0,
    chunk: int = CHUNK,
) -> jax.Array:
    """Occlusion: how much the target logit drops when a square is hidden, signed (Zeiler & Fergus 2014).

    The square moves by `stride` from the upper left until it has covered the image; at the lower and right edges part
    of it may lie outside. A pixel's value is the mean drop over the squares that cover it.

    Args:
      logits: float32 [B, S, S, C] -> float32 [B, classes].
      images: float32 [B, S, S, C].
      targets: int32 [B].
      key: not used.
      window: side of the square in pixels; None: an eighth of the image's.
      stride: pixels between squares, at most `window`; None: half of it.
      baseline: what is shown in the square: see `btjax.saliency.inputs.as_baseline`.
      chunk: images of one pass.

    Raises:
      InputError: a window larger than the image, or a stride that leaves gaps.
    """
    del key
    size = images.shape[1]
    window = max(1, size // 8) if window is None else window
    stride = max(1, window // 2) if stride is None else stride
    if not 1 <= stride <= window <= size:
        raise InputError(
            f"occlusion: window {window}, stride {stride}, expected 1 <= stride <= window <= {size}, the image's side"
        )
    places = -(-(size - window) // stride) + 1
    start, whole = as_baseline(baseline, images), target_scores(logits(images), targets)

    def sample(index):
        def covered(place):
            pixels = jnp.arange(size, dtype=jnp.int32) - place * stride
            return (pixels >= 0) & (pixels < window)

        cover = covered(index // places)[:, None] & covered(index % places)[None, :]
        cover = jnp.broadcast_to(cover, images.shape[:3])
        return jnp.where(cover[..., None], start, images), targets, whole, cover

    def measure(inputs, targets, whole, cover):
        drop = whole - target_scores(logits(inputs), targets)
        cover = cover.astype(inputs.dtype)
        return drop[:, None, None] * cover, cover

    drops, cover = mean_over_samples(measure, sample, places**2, len(images), chunk)
    return drops / cover


def rise(
    logits: Logits,
    images: jax.Array,
    targets: jax.Array,
    key: jax.Array,
    *,
    samples: int = 1000,
    grid: int = 8,
    kept: float = 0.5,
    baseline: jax.Array | float = 0.0,
    chunk: int = CHUNK,
) -> jax.Array:
    """RISE: random masks averaged, weighted by the target's probability under each, at least 0 (Petsiuk et al. 2018).

    A pixel's value estimates the mean probability of the target class (softmax of the logits) when the pixel is shown.

    Args:
      logits: float32 [B, S, S, C] -> float32 [B, classes].
      images: float32 [B, S, S, C].
      targets: int32 [B].
      key: of the masks, one or [B].
      samples: masks for each image; the paper uses 4000 to 8000.
      grid: cells of a mask along each side, before it is enlarged.
      kept: the share of cells that are shown, above 0, at most 1.
      baseline: what shows where the mask is 0: see `btjax.saliency.inputs.as_baseline`.
      chunk: images of one pass.
    """
    keys, start = image_keys(key, len(images)), as_baseline(baseline, images)

    def sample(index):
        index_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
        masks = jax.vmap(lambda key: rise_mask(key, images.shape[1], grid, kept))(index_keys).astype(images.dtype)
        return start + masks[..., None] * (images - start), targets, masks

    def measure(inputs, targets, masks):
        probabilities = target_scores(jax.nn.softmax(logits(inputs)), targets)
        return probabilities[:, None, None] * masks

    return mean_over_samples(measure, sample, samples, len(images), chunk) / kept


def rise_mask(key: jax.Array, size: int, grid: int, kept: float) -> jax.Array:
    """One random mask of RISE, float32 [size, size] in [0, 1], whose mean over keys is `kept` at every pixel.

    Cells of a `grid` x `grid` square are 1 with probability `kept`. It is enlarged bilinearly to (grid + 1) cells of
    ceil(size / grid) pixels, and cut to `size` at a random place within the first cell.
    """
    cells_key, *axis_keys = jax.random.split(key, 3)
    cells = jax.random.bernoulli(cells_key, kept, (grid, grid)).astype(jnp.float32)
    pixels = -(-size // grid)

    def interpolation(key):
        """The weight of each cell for each pixel along one axis, [size, grid]."""
        offset = jax.random.randint(key, (), 0, pixels).astype(jnp.float32)
        centres = (jnp.arange(size, dtype=jnp.float32) + offset + 0.5) * grid / ((grid + 1) * pixels) - 0.5
        centres = jnp.clip(centres, 0, grid - 1)
        return jax.nn.relu(1 - jnp.abs(centres[:, None] - jnp.arange(grid, dtype=jnp.float32)[None, :]))

    rows, columns = (interpolation(key) for key in axis_keys)
    return jnp.einsum("ya,ab,xb->yx", rows, cells, columns)
