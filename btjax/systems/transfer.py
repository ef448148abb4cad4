"""Transfer learning: published weights below, what trains above, and the features between computed once."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.features.deep import FrozenPart, compute_features, highest_cut, highest_frozen
from btjax.features.heads import HEADS, check_weights
from btjax.systems.system import Place, Prepared, masks_missing
from btjax.training.examples import Examples
from btjax.training.freezing import split_frozen
from btjax.weights import vgg16

if TYPE_CHECKING:
    from btjax.data.splits import Split
    from btjax.readers.slices import Slices
    from btjax.systems.config import Config

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
    feature_cache: bool = option(
        True, "compute the output of the highest frozen layer once for every slice, and keep it on disk"
    )
    feature_copies: int = option(
        0,
        "augmented copies of each training slice in the feature cache, taken in turn by epoch; with augmentation and 0 "
        "copies there is no cache",
        minimum=0,
    )


def load_pretrained(transfer: TransferConfig, scale: str) -> dict[str, Any] | None:
    """The convolutions' published weights as variables; None for `random`.

    Args:
      transfer: the options.
      scale: the run's `Preprocessing.scale`.

    Raises:
      InputError: no or wrong weights, or weights that were trained under another scale.
    """
    if transfer.weights == RANDOM:
        return None
    if not transfer.weights:
        raise InputError("--weights is missing: expected Keras's VGG16 file (scripts/download vgg16) or a checkpoint")
    weights = vgg16.load(transfer.weights)
    if weights.scale != scale:
        raise InputError(f"--scale={scale}: the weights in {transfer.weights} expect --scale={weights.scale}")
    return weights.base


def prepare_transfer(config: Config, slices: Slices, split: Split, place: Place) -> Prepared:
    """Loads the weights, and computes the features of all slices where nothing below them changes.

    Args:
      config: of a system whose `extra` is a `TransferConfig`.
      slices: the data set.
      split: its rows.
      place: where features are kept.

    Raises:
      InputError: see `load_pretrained`, `split_frozen`; a cache that cannot be written; a classical head without
        frozen features, or one that cannot weigh classes.
    """
    transfer: TransferConfig = config.extra
    check_weights(transfer.head, config.training.class_weights)
    task: Any = config.task()
    pretrained = load_pretrained(transfer, config.preprocessing.scale)
    size = slices.images.shape[1]
    shapes = jax.eval_shape(lambda key: task.initialise(key, size), jax.random.key(0))
    trained, frozen = split_frozen(shapes["params"], config.training.layer_rates)
    stage = highest_frozen(task.model, trained)
    if stage is not None:
        inputs = jax.ShapeDtypeStruct((1, size, size, config.preprocessing.channels), np.float32)
        stage = highest_cut(task.model, shapes, inputs, stage)
    known = pretrained is not None and frozen.keys() <= pretrained["params"].keys()
    if task.needs_masks and slices.masks is None:
        raise InputError(masks_missing(config))
    cached = transfer.feature_cache and stage is not None and known and not task.needs_masks
    fixed = not config.augmentation.active or transfer.feature_copies > 0
    if cached and fixed and pretrained is not None and stage is not None:
        examples = _features(FrozenPart(task.model, pretrained, stage), config, slices, split, place)
        head = None if transfer.head == "dense" else transfer.head
        copies = transfer.feature_copies if config.augmentation.active else 0
        return Prepared(dataclasses.replace(task, start=stage), examples, pretrained, stage, head, copies)
    if transfer.head != "dense":
        raise InputError(f"--head={transfer.head}: needs features: --weights, and --layer_rates=block*=0,*=1")
    return Prepared(task, Examples.of(slices, split, masks=task.needs_masks), pretrained)


def _features(part: FrozenPart, config: Config, slices: Slices, split: Split, place: Place) -> Examples:
    """The features of every slice and, with augmentation, those of the training slices' augmented copies."""
    folder = place.cache / "features"
    arrays = [compute_features(part, config.preprocessing, slices.images, folder, progress=place.progress)]
    plain = Examples.of(slices, split)
    labels, train = [plain.labels], plain.train
    if config.augmentation.active:
        copies = config.extra.feature_copies
        for copy in range(copies):
            arrays.append(
                compute_features(
                    part,
                    config.preprocessing,
                    slices.images[split.train],
                    folder,
                    augmentation=config.augmentation,
                    seed=config.seed * 1000 + copy,
                    progress=place.progress,
                )
            )
            labels.append(plain.labels[split.train])
        count = len(split.train)
        train = len(slices) + np.arange(copies * count, dtype=np.int32).reshape(copies, count)
    return Examples(np.concatenate(arrays), np.concatenate(labels), train, split.validation, slices.images.shape[1])
