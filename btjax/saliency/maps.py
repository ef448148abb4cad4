"""Maps of any number of images, by one method or by several for the passes of one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from btjax.base.batches import in_batches
from btjax.base.errors import InputError
from btjax.saliency.classifier import Classifier, Logits, as_pytree
from btjax.saliency.inputs import checked_baselines, checked_inputs

if TYPE_CHECKING:
    from btjax.saliency.methods import Joint, Method


def attribution_maps(
    classifier: Classifier | Logits,
    images: np.ndarray,
    targets: np.ndarray,
    key: jax.Array,
    method: Method,
    *,
    batch_size: int = 16,
    baselines: np.ndarray | None = None,
) -> np.ndarray:
    """The maps of any number of images, computed batch by batch.

    All batches have one size, so the program is compiled once; it is reused by later calls with the same method, model
    (whatever its weights) and sizes. Each image has a random key of its own, made from `key` and its row, so a map does
    not depend on the batch size.

    Args:
      classifier: a `Classifier`; a plain function, made once, is enough for methods that need only the logits.
      images: the network's inputs, float32 [N, S, S, C].
      targets: int [N], the class whose logit is explained, 0 to classes - 1.
      key: a random key.
      method: of `METHODS`, or one with other options.
      batch_size: images at once, at least 1: memory grows with the larger of it and the method's `chunk`.
      baselines: for a method that takes a baseline, float32 [N or 1, S or 1, S or 1, C], a row for each image, or one
        for all; None for the method's own. See `btjax.saliency.inputs.BASELINES`.

    Returns:
      float32 [N, S, S].

    Raises:
      InputError: the method lacks an option, or does not fit the model.
      TypeError: the method needs a `Classifier`.
      ValueError: images, targets or baselines of other shapes, types or ranges; a value that is not finite; a batch
        size below 1; or baselines for a method that takes none.

    Example:
      >>> from btjax.models.cnn import CNN
      >>> from btjax.saliency.methods import METHODS
      >>> model, images = CNN(widths=(4,), pools=1, dense=8), np.ones((3, 8, 8, 1), np.float32)
      >>> classifier = Classifier(model, model.init(jax.random.key(0), images))
      >>> targets = np.asarray(classifier(images)).argmax(axis=1)
      >>> attribution_maps(classifier, images, targets, jax.random.key(0), METHODS["grad_cam"]).shape
      (3, 8, 8)
    """
    return joint_maps(classifier, images, targets, key, method.alone, batch_size=batch_size, baselines=baselines)[
        method.name
    ]


def joint_maps(
    classifier: Classifier | Logits,
    images: np.ndarray,
    targets: np.ndarray,
    key: jax.Array,
    joint: Joint,
    *,
    batch_size: int = 16,
    baselines: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The maps of several methods, for the passes of one; arguments and errors as in `attribution_maps`.

    Returns:
      The maps by the methods' names, float32 [N, S, S].
    """
    images, targets = checked_inputs(images, targets)
    method = joint.methods[0]  # what the methods of a family need and take is the same
    if method.needs_options:
        raise InputError(f"saliency method {method.name}: found no {', '.join(method.needs_options)}; bind them to it")
    classes = jax.eval_shape(classifier, jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)).shape[-1]
    if targets.max() >= classes:
        raise ValueError(f"targets from {targets.min()} to {targets.max()}, expected 0 to {classes - 1}")
    given = {"images": images, "targets": targets, "rows": np.arange(len(images), dtype=np.int32)}
    if baselines is not None:
        if not method.takes_baseline:
            raise ValueError(f"{method.name} takes no baseline, found baselines {np.shape(baselines)}")
        given["baseline"] = checked_baselines(baselines, images)
    logits = as_pytree(classifier)

    def of_batch(*arrays):
        batch = dict(zip(given, arrays, strict=True))
        found = maps_of_batch(logits, batch, key, attribute=joint.attribute)
        return {name: np.asarray(maps, np.float32) for name, maps in found.items()}  # on the host, batch by batch

    return in_batches(of_batch, batch_size, *given.values())


@functools.partial(jax.jit, static_argnames="attribute")
def maps_of_batch(logits: Logits, batch: dict[str, jax.Array], key: jax.Array, *, attribute: Callable[..., Any]) -> Any:
    """The compiled program of `joint_maps`: the maps of a batch, each image with the key of its row.

    Args:
      logits: a pytree, see `as_pytree`.
      batch: `images` float32 [B, S, S, C], `targets` int [B], `rows` int32 [B] and, where it is given, `baseline`
        [B or 1, S or 1, S or 1, C].
      key: a random key.
      attribute: a method's function, or that of a `Joint`.

    Returns:
      What `attribute` gives: float32 [B, S, S], or such maps by name.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["rows"])
    options = {"baseline": batch["baseline"]} if "baseline" in batch else {}
    return attribute(logits, batch["images"], batch["targets"], keys, **options)
