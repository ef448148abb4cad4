"""Whether a saliency map tells what the classifier does: no mask is needed, only the classifier.

The measures perturb the image and compare the classifier's output with what the map predicts. `logits` is any JAX
function from images (float32 [B, S, S, C]) to logits (float32 [B, classes]); it is compiled once for batches of
`batch_size` (for all weights of a model, where it is a `btjax.saliency.classifier.Classifier` or another pytree).
A pixel is removed in all its channels at once: it is replaced by `baseline`, which may differ from image to image.

Perturbed images are unlike any training image: a measure that depends on `baseline` tells something about the map and
about the classifier off its data (Hooker et al., A benchmark for interpretability methods, NeurIPS 2019). Random
subsets and the order of ties depend on `key` alone and are the same for every slice, so methods can be compared in
pairs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from btjax.base.batches import in_batches, padded_batches
from btjax.saliency.classifier import Logits, as_pytree, target_scores
from btjax.saliency.inputs import checked_baselines, checked_inputs
from btjax.saliency.maps import maps_of_batch

Output = Callable[[jax.Array, jax.Array], jax.Array]

STEPS = 64
"""Steps of the insertion and deletion curves: each moves 256 pixels of a 128x128 slice."""

BLUR_SIGMA = 5 / 224
"""Standard deviation of the blurred baseline in image sides: Petsiuk's 5 pixels of 224."""


@dataclasses.dataclass(frozen=True)
class Measure:
    """A measure of faithfulness: its direction and its source."""

    higher_is_better: bool
    reference: str


MEASURES = {
    "insertion": Measure(True, "Petsiuk, Das and Saenko, RISE, BMVC 2018"),
    "deletion": Measure(False, "Petsiuk, Das and Saenko, RISE, BMVC 2018"),
    "sensitivity_n": Measure(True, "Ancona et al., Towards better understanding of gradient-based methods, ICLR 2018"),
    "max_sensitivity": Measure(False, "Yeh et al., On the (in)fidelity and sensitivity of explanations, NeurIPS 2019"),
}
"""The measures of this file by the name of their function."""


def target_probability(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """The softmax probability of the target class: float32 [B, classes], int32 [B] -> float32 [B]."""
    return target_scores(jax.nn.softmax(logits), targets)


def blurred(images: np.ndarray, sigma: float = BLUR_SIGMA) -> np.ndarray:
    """Images without detail, the baseline of insertion: float32 [N, S, S, C], `sigma` in image sides."""
    from scipy.ndimage import gaussian_filter

    pixels = sigma * images.shape[1]
    return gaussian_filter(np.asarray(images), (0, pixels, pixels, 0))


def deletion(
    logits: Logits, images: np.ndarray, targets: np.ndarray, maps: np.ndarray, key: jax.Array, **settings: Any
) -> np.ndarray:
    """The area under the `deletion_curve`, float64 [N]: lower is better. Arguments as there."""
    return _area(*deletion_curve(logits, images, targets, maps, key, **settings))


def insertion(
    logits: Logits, images: np.ndarray, targets: np.ndarray, maps: np.ndarray, key: jax.Array, **settings: Any
) -> np.ndarray:
    """The area under the `insertion_curve`, float64 [N]: higher is better. Arguments as there."""
    return _area(*insertion_curve(logits, images, targets, maps, key, **settings))


def deletion_curve(
    logits: Logits,
    images: np.ndarray,
    targets: np.ndarray,
    maps: np.ndarray,
    key: jax.Array,
    *,
    baseline: np.ndarray | float = 0.0,
    steps: int = STEPS,
    output: Output = target_probability,
    batch_size: int = 64,
) -> tuple[np.ndarray, np.ndarray]:
    """The classifier's output while the map's pixels, the highest first, are replaced by the baseline.

    Args:
      logits: float32 [B, S, S, C] -> float32 [B, classes].
      images: float32 [N, S, S, C], the network's inputs.
      targets: int [N], the class that each map explains.
      maps: float [N, S, S], signed; pixels of equal value are taken in an order drawn by `key`.
      key: of that order.
      baseline: what a removed pixel shows, in the images' units: broadcasts to [N, S, S, C], as [N, 1, 1, C] does.
      steps: K, the number of equal steps from the whole image to the whole baseline.
      output: what is measured: (logits, targets) -> float32 [B].
      batch_size: images at once.

    Returns:
      The replaced shares of the pixels, float64 [K + 1] from 0 to 1; the outputs, float64 [N, K + 1].

    Raises:
      ValueError: steps not in 1 to the number of pixels, shapes that disagree, or values that are not finite.
    """
    images, targets, maps = _checked(images, targets, maps)
    pixels = maps[0].size
    if not 1 <= steps <= pixels:
        raise ValueError(f"steps must lie in 1 to {pixels}, the number of pixels, found {steps}")
    counts = np.rint(np.linspace(0, pixels, steps + 1)).astype(np.int32)
    baseline = _broadcast(baseline, images)
    shuffled = jax.random.permutation(key, pixels)
    logits = as_pytree(logits)

    def curves(images, baseline, targets, maps):
        return _curve(logits, _Slices(images, baseline, targets), _places(maps, shuffled), counts, output)

    found = in_batches(curves, batch_size, images, baseline, targets, maps)
    return counts / pixels, found.astype(np.float64)


def insertion_curve(
    logits: Logits,
    images: np.ndarray,
    targets: np.ndarray,
    maps: np.ndarray,
    key: jax.Array,
    *,
    baseline: np.ndarray | float | None = None,
    **settings: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """The classifier's output while the map's pixels, the highest first, are put into the baseline.

    Arguments, results and errors as in `deletion_curve`, with the images and the baseline exchanged; `baseline` None
    stands for the `blurred` images, as in Petsiuk et al., so that no sharp edges are inserted.
    """
    images, targets, maps = _checked(images, targets, maps)
    baseline = blurred(images) if baseline is None else _broadcast(baseline, images)
    return deletion_curve(logits, baseline, targets, maps, key, baseline=images, **settings)


def sensitivity_n(
    logits: Logits,
    images: np.ndarray,
    targets: np.ndarray,
    maps: np.ndarray,
    key: jax.Array,
    *,
    sizes: tuple[int, ...],
    subsets: int = 100,
    baseline: np.ndarray | float = 0.0,
    output: Output = target_scores,
    batch_size: int = 64,
) -> np.ndarray:
    """Pearson's correlation of a map's sum over random pixels with the output that is lost when they are removed.

    Args:
      logits: as in `deletion_curve`.
      images: as in `deletion_curve`.
      targets: as in `deletion_curve`.
      maps: float [N, S, S], or [..., N, S, S] for several maps of each slice, which take no more passes than one.
      key: of the subsets, which are the same for all slices.
      sizes: n, the pixels in a subset; Ancona spaces them logarithmically up to 0.8 of the pixels.
      subsets: random subsets of each size, at least 2.
      baseline: as in `deletion_curve`.
      output: as in `deletion_curve`.
      batch_size: as in `deletion_curve`.

    Returns:
      float64 [N, len(sizes)], or [..., N, len(sizes)], in [-1, 1]: 1 for a map that is exact (input times gradient of
      a linear function, with baseline 0); 0 where the sums or the outputs do not vary at all.

    Raises:
      ValueError: a size not in 1 to the number of pixels, or shapes that disagree.
    """
    maps = np.asarray(maps)
    stack = maps.reshape(-1, *maps.shape[-3:])
    for one in stack:
        images, targets, _ = _checked(images, targets, one)
    pixels = stack[0, 0].size
    if not all(1 <= size <= pixels for size in sizes):
        raise ValueError(f"sizes must lie in 1 to {pixels}, the number of pixels, found {sizes}")
    baseline = _broadcast(baseline, images)
    logits = as_pytree(logits)
    correlations = np.empty((*stack.shape[:2], len(sizes)))
    for column, size in enumerate(sizes):
        # A pixel belongs to a subset if its place in a random order is below the size.
        places = np.asarray(_random_places(jax.random.split(jax.random.fold_in(key, size), subsets), pixels))
        sums = stack.reshape(-1, pixels).astype(np.float64) @ (places < size).T.astype(np.float64)
        places = jax.device_put(places.reshape(subsets, 1, *stack.shape[2:]))

        def left(images, baseline, targets, places=places, size=size):
            return _left(logits, _Slices(images, baseline, targets), places, np.int32(size), output)

        # The whole image's output is the same for every subset, so the loss correlates as minus what is left.
        lost = -in_batches(left, batch_size, images, baseline, targets).astype(np.float64)
        for index, part in enumerate(sums.reshape(len(stack), len(images), subsets)):
            correlations[index, :, column] = _correlation(part, lost)
    return correlations.reshape(*maps.shape[:-2], len(sizes))


def max_sensitivity(
    attribute: Callable,
    logits: Logits,
    images: np.ndarray,
    targets: np.ndarray,
    key: jax.Array,
    *,
    radius: float = 0.02,
    samples: int = 10,
    batch_size: int = 64,
    baselines: np.ndarray | None = None,
) -> Any:
    """The largest relative change of the map under small random perturbations of the image.

    max over samples of ||maps(image + noise) - maps(image)|| / ||maps(image)||, Euclidean norms, the noise uniform in
    [-radius, radius] for each value. A random method gets the same keys every time, so its own noise does not count.
    Each image has keys of its own, made from `key` and its row, as in `btjax.saliency.maps.attribution_maps`. The
    program is the one of that function: what a compile cache keeps of either serves both.

    Args:
      attribute: (logits, images, targets, keys [B]) -> maps, float32 [B, ...], or a pytree of such; with `baselines` it
        also takes `baseline`.
      logits: float32 [B, S, S, C] -> float32 [B, classes].
      images: float32 [N, S, S, C].
      targets: int [N].
      key: of the perturbations and of the method.
      radius: in the images' units.
      samples: perturbations of each image.
      batch_size: images at once.
      baselines: as in `btjax.saliency.maps.attribution_maps`; they are not perturbed.

    Returns:
      float64 [N], at least 0, or a pytree of such: 0 for a map that never changes; infinite where a map is zero
      everywhere and changes.

    Raises:
      ValueError: shapes that disagree, or values that are not finite.
    """
    images, targets = checked_inputs(images, targets)
    beside = () if baselines is None else (checked_baselines(baselines, images),)
    method_key, noise_key = jax.random.split(key)
    logits = as_pytree(logits)

    def maps_of(images, rows, targets, *baseline):
        batch = {"images": images, "targets": targets, "rows": rows.astype(np.int32)}
        batch |= {"baseline": baseline[0]} if baseline else {}
        found = maps_of_batch(logits, batch, method_key, attribute=attribute)
        return jax.tree.map(lambda maps: np.asarray(maps, np.float64), found)

    parts = []
    for rows, part, *others in padded_batches(batch_size, images, targets, *beside):
        original = maps_of(part, rows, *others)
        largest = jax.tree.map(lambda maps: np.zeros(len(maps)), original)
        for sample_key in jax.random.split(noise_key, samples):
            moved = maps_of(_moved(part, sample_key, rows, radius), rows, *others)
            largest = jax.tree.map(_larger, largest, moved, original)
        parts.append(jax.tree.map(_relative, largest, original))
    return jax.tree.map(lambda *values: np.concatenate(values)[: len(images)], *parts)


def _larger(largest: np.ndarray, moved: np.ndarray, original: np.ndarray) -> np.ndarray:
    """The largest change so far, or this one."""
    return np.maximum(largest, _norms(moved - original))


def _relative(changes: np.ndarray, original: np.ndarray) -> np.ndarray:
    """The changes as shares of the map's own norm; infinite where a map is zero everywhere and changes."""
    sizes = _norms(original)
    return np.divide(changes, sizes, out=np.where(changes > 0, np.inf, 0.0), where=sizes > 0)


def _norms(maps: np.ndarray) -> np.ndarray:
    return np.linalg.norm(maps.reshape(len(maps), -1), axis=1)


class _Slices(NamedTuple):
    """Images and baselines [B, S, S, C], targets [B]."""

    images: jax.Array
    baseline: jax.Array
    targets: jax.Array


def _replaced(logits, slices, places, count, output):
    """The output where the pixels whose place (int32 [B or 1, S, S]) is below `count` show the baseline."""
    images = jnp.where((places < count)[..., None], slices.baseline, slices.images)
    return output(logits(images), slices.targets)


@functools.partial(jax.jit, static_argnames="output")
def _curve(logits, slices, places, counts, output):
    """The outputs [B, K] of `_replaced` for each of K counts."""
    return lax.map(lambda count: _replaced(logits, slices, places, count, output), counts).T


@functools.partial(jax.jit, static_argnames="output")
def _left(logits, slices, places, count, output):
    """The outputs [B, K] of `_replaced` for each of K orders of the pixels, int32 [K, 1, S, S]."""
    return lax.map(lambda order: _replaced(logits, slices, order, count, output), places).T


@jax.jit
def _moved(images, key, rows, radius):
    """The images with noise in [-radius, radius], of each row's own key."""

    def noise(row):
        return jax.random.uniform(jax.random.fold_in(key, row), images.shape[1:], images.dtype, -radius, radius)

    return images + jax.vmap(noise)(rows)


@functools.partial(jax.jit, static_argnames="pixels")
def _random_places(keys, pixels):
    """The places of the pixels in random orders: int32 [K, pixels]."""
    return jax.vmap(lambda key: jax.random.permutation(key, pixels))(keys)


@jax.jit
def _places(maps, shuffled):
    """The place of each pixel when the highest comes first: int32 [B, S, S]."""
    # A stable sort of shuffled pixels leaves equal values in shuffled order.
    order = shuffled[jnp.argsort(-maps.reshape(len(maps), -1)[:, shuffled], axis=1)]
    return jnp.argsort(order, axis=1).reshape(maps.shape)


def _checked(images: np.ndarray, targets: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    images, targets = checked_inputs(images, targets)
    maps = np.asarray(maps)
    if maps.shape != images.shape[:3]:
        raise ValueError(f"expected maps [N, S, S] for images [N, S, S, C], found {maps.shape} and {images.shape}")
    if not np.isfinite(maps).all():
        raise ValueError("maps must be finite")
    return images, targets, maps


def _broadcast(baseline: np.ndarray | float, images: np.ndarray) -> np.ndarray:
    """The baseline in the images' shape and dtype, without copies."""
    baseline = np.asarray(baseline, images.dtype)
    if not np.isfinite(baseline).all():
        raise ValueError("the baseline must be finite")
    return np.broadcast_to(baseline, images.shape)


def _area(shares: np.ndarray, curves: np.ndarray) -> np.ndarray:
    return np.trapezoid(curves, shares, axis=1)


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each pair of rows: float64 [N, K] twice -> float64 [N], 0 where a row is constant."""
    first, second = (values - values.mean(axis=1, keepdims=True) for values in (first, second))
    scale = np.sqrt(np.sum(first**2, axis=1) * np.sum(second**2, axis=1))
    products = np.sum(first * second, axis=1)
    return np.divide(products, scale, out=np.zeros(len(scale)), where=scale > 0)
