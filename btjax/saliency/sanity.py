"""Whether a saliency map depends on what the classifier has learned: it must change when the weights are randomised.

The cascade re-initialises a trained network stage by stage from the logits down; a method whose maps stay the same
shows the image, not the network. Reference: Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018. The same
similarities compare the maps of a network with those of one trained on permuted labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from btjax.nn.network import Network


def cascading_randomisation(
    model: Network, variables: dict, inputs: jax.Array | np.ndarray, key: jax.Array
) -> Iterator[tuple[str, dict]]:
    """The network with its stages re-initialised cumulatively, from the last to the first.

    New values come from the model's own initialisers, in one `model.init`, so a stage's new values stay the same
    through the rest of the cascade. A stage is re-initialised in every collection at once: its batch statistics start
    again with its parameters.

    Args:
      model: a Flax module that is a composition of named stages, see `btjax.nn.network`.
      variables: the trained variables, collection -> stage -> arrays; they are not changed.
      inputs: inputs of the model, [B, S, S, C]; only their shape and dtype count.
      key: of the new values.

    Yields:
      The name of the stage re-initialised last, and the variables with it and all later stages re-initialised; stages
      without variables (pooling, flatten) are skipped.

    Raises:
      ValueError: variables of a stage that the model does not name, or of other shapes than the model's own.
    """
    names = {name for collection in variables.values() for name in collection}
    if names - set(model.layers):
        raise ValueError(f"variables of no stage: {', '.join(sorted(names - set(model.layers)))}")
    shapes = jax.eval_shape(model.init, key, inputs)
    if jax.tree.map(lambda leaf: leaf.shape, dict(shapes)) != jax.tree.map(np.shape, dict(variables)):
        raise ValueError("the variables' names or shapes are not those that the model makes for these inputs")
    # Under jit only the initialisers run: XLA removes the forward pass, whose output is not used.
    fresh = jax.jit(model.init)(key, inputs)
    current = variables
    for stage in reversed(model.layers):
        if stage in names:
            current = {
                kind: {name: fresh[kind][name] if name == stage else value for name, value in collection.items()}
                for kind, collection in current.items()
            }
            yield stage, current


def similarity_to(first: np.ndarray) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """The similarity of maps to others of the same slices: 1 for equal maps.

    It need not be 0 for unrelated networks, since their maps may share something else: a map that contains the image as
    a factor is 0 on the black background whatever the network, which raises `spearman_absolute` and `ssim`.

    Args:
      first: float [N, S, S], signed.

    Returns:
      A function from the other maps, float [N, S, S], to `spearman`, `spearman_absolute` (of the magnitudes; Adebayo
      reports both) and `ssim`: float64 [N] each. The pixels of `first` are ranked once for all others.

    Raises:
      ValueError: maps of another shape, or values that are not finite; the function raises it too, also for shapes that
        disagree and for S below 11.

    Example:
      >>> maps = np.arange(288.0).reshape(2, 12, 12)
      >>> similarity_to(maps)(-maps)["spearman"].round(9).tolist()
      [-1.0, -1.0]
    """
    first, _ = _checked(first, first)
    signed, absolute = _standing(first), _standing(np.abs(first))

    def compare(second: np.ndarray) -> dict[str, np.ndarray]:
        _, others = _checked(first, second)
        ranks = _standing(others)
        # Where no value is negative, the magnitudes have the same ranks.
        magnitudes = ranks if others.min() >= 0 else _standing(np.abs(others))
        return {
            "spearman": _correlations(signed, ranks),
            "spearman_absolute": _correlations(absolute, magnitudes),
            "ssim": ssim(first, others),
        }

    return compare


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of the pixels of each pair of maps; ties have their mean rank.

    Args:
      first: float [N, S, S].
      second: float [N, S, S].

    Returns:
      float64 [N] in [-1, 1]; 0 where a map is constant, since it has no order.

    Raises:
      ValueError: shapes that disagree, or values that are not finite.
    """
    first, second = _checked(first, second)
    return _correlations(_standing(first), _standing(second))


def _standing(maps: np.ndarray) -> np.ndarray:
    """The ranks of each map's pixels, less their mean, of length 1; zeros for a constant map: float64 [N, S * S]."""
    from scipy.stats import rankdata

    ranks = np.array([rankdata(values) for values in maps.reshape(len(maps), -1)], np.float64)
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(ranks, axis=1, keepdims=True)
    return np.divide(ranks, lengths, out=np.zeros_like(ranks), where=lengths > 0)


def _correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The products of rows that `_standing` made: float64 [N]."""
    return np.einsum("np,np->n", first, second)


def ssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The structural similarity (SSIM) of each pair of maps, as grey images in which zero is one half.

    Each map is divided by its largest magnitude and moved from [-1, 1] to [0, 1]: maps of two networks differ in
    scale, and SSIM is defined for intensities (around zero the signs of the local means cancel those of the details,
    and a map resembles its negative). Gaussian window of 1.5 pixels, constants 0.01 and 0.03 (Wang et al., Image
    quality assessment, IEEE TIP 13, 2004).

    Args:
      first: float [N, S, S], S at least 11.
      second: float [N, S, S].

    Returns:
      float64 [N] in [-1, 1]; a map of zeros is uniformly grey.

    Raises:
      ValueError: shapes that disagree, values that are not finite, or S below 11.
    """
    from skimage.metrics import structural_similarity

    first, second = _checked(first, second)
    settings: dict[str, Any] = {
        "data_range": 1.0,
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
    }
    pairs = zip(first, second, strict=True)
    return np.array([structural_similarity(_grey(a), _grey(b), **settings) for a, b in pairs], dtype=np.float64)


def _grey(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    largest = np.abs(values).max()
    return 0.5 + values / (2 * largest) if largest > 0 else np.full(values.shape, 0.5)


def _checked(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first), np.asarray(second)
    if first.ndim != 3 or first.shape != second.shape:
        raise ValueError(f"both maps must be [N, S, S], found {first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("maps must be finite")
    return first, second
