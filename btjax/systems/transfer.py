"""Transfer learning: published weights below, what trains above, and the features between computed once."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.base.progress import ProgressCallback
from btjax.data.slices import Slices
from btjax.data.splits import Split
from btjax.features.deep import compute_features, highest_frozen
from btjax.features.heads import HEADS
from btjax.training.freezing import split_frozen
from btjax.training.loop import Examples
from btjax.training.tasks import Classification
from btjax.weights import vgg16

RANDOM = "random"


@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """What a transfer model begins with, and how its frozen part is computed."""

    weights: str = option(
        "", "ImageNet weights: Keras's VGG16 file (.h5), a converted checkpoint's folder, or `random` for none"
    )
    head: str = option(
        "dense",
        "what classifies: dense (the model's head, by gradient), or on the frozen features linear_probe, knn or svm",
        choices=("dense", *HEADS),
    )
    feature_cache: bool = option(True, "compute what lies below the lowest trained layer once, and keep it on disk")
    feature_copies: int = option(
        0,
        "augmented copies of each training slice in the feature cache, taken in turn by epoch; with augmentation and 0 "
        "copies there is no cache",
        minimum=0,
    )


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a transfer run trains.

    Attributes:
      task: of the whole model, or of the layers above the features.
      examples: slices, or their features.
      pretrained: layers of parameters to begin with.
      features: the layer whose output was computed beforehand, or None.
    """

    task: Classification
    examples: Examples
    pretrained: dict[str, Any]
    features: str | None


def load_pretrained(transfer: TransferConfig, scale: str) -> dict[str, Any]:
    """The convolutions' published weights, by layer; empty for `random`.

    Args:
      transfer: the options.
      scale: the run's `Preprocessing.scale`.

    Raises:
      InputError: no or wrong weights, or weights that were trained under another scale.
    """
    if transfer.weights == RANDOM:
        return {}
    if not transfer.weights:
        raise InputError("--weights is missing: expected Keras's VGG16 file (scripts/download vgg16) or a checkpoint")
    weights = vgg16.load(transfer.weights)
    if weights.scale != scale:
        raise InputError(f"--scale={scale}: the weights in {transfer.weights} expect --scale={weights.scale}")
    return weights.base


def prepare_transfer(
    transfer: TransferConfig,
    task: Classification,
    layer_rates: tuple[str, ...],
    slices: Slices,
    split: Split,
    seed: int,
    cache_dir: pathlib.Path,
    progress: ProgressCallback | None = None,
) -> Prepared:
    """Loads the weights and computes the features of all slices, where nothing below them changes.

    Args:
      transfer: the options.
      task: of the whole model.
      layer_rates: which parameters train, see `btjax.training.freezing`.
      slices: the data set.
      split: its rows.
      seed: the run's seed, which decides the augmented copies.
      cache_dir: where features are kept.
      progress: see `btjax.features.deep.compute_features`.

    Raises:
      InputError: see `load_pretrained`, `split_frozen`, and a cache that cannot be written.
    """
    pretrained = load_pretrained(transfer, task.preprocessing.scale)
    size, plain = slices.images.shape[1], Examples.of(slices, split)
    shapes = jax.eval_shape(lambda key: task.initialise(key, size), jax.random.key(0))
    trained, frozen = split_frozen(shapes["params"], layer_rates)
    layer = highest_frozen(task.model, trained)
    augmented = task.augmentation.active
    if not transfer.feature_cache or layer is None or not pretrained or not frozen.keys() <= pretrained.keys():
        return Prepared(task, plain, pretrained, None)
    if augmented and not transfer.feature_copies:
        return Prepared(task, plain, pretrained, None)

    def compute(images, augmentation=None, copy=0):
        settings = (task.preprocessing, images, cache_dir, augmentation, seed * 1000 + copy, progress)
        return compute_features(task.model, pretrained, layer, *settings)

    arrays, labels, train = [compute(slices.images)], [plain.labels], plain.train
    if augmented:
        chosen = range(transfer.feature_copies)
        arrays += [compute(slices.images[split.train], task.augmentation, copy) for copy in chosen]
        labels += [plain.labels[split.train] for _ in chosen]
        count = len(split.train)
        train = len(slices) + np.arange(len(chosen) * count, dtype=np.int32).reshape(len(chosen), count)
    examples = Examples(np.concatenate(arrays), np.concatenate(labels), train, split.validation, size)
    return Prepared(dataclasses.replace(task, start=layer), examples, pretrained, layer)
