"""Transfer learning: published weights below, what trains above, and the features between computed once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import jax
import numpy as np

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.features.deep import FrozenPart, compute_features, highest_cut, highest_frozen
from btjax.features.heads import HEADS, check_weights
from btjax.systems.system import Place, Prepared, find_system, masks_missing
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
        "",
        "ImageNet weights: the network's file by Keras (.h5), of VGG16 a converted checkpoint's folder too, of others "
        "torchvision's (.pth, .safetensors) with --form=torch; or `random` for none",
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


class Published(Protocol):
    """Published weights, as a module of `btjax.weights` reads them."""

    @property
    def base(self) -> dict[str, Any]:
        """{"params", "batch_stats"} of the stages below the head."""
        ...

    @property
    def scale(self) -> str:
        """The `Preprocessing.scale` that they need."""
        ...


Load = Callable[[str, Any], Published]
"""Loads the weights in a file (or folder) for a model."""


def load_vgg16(path: str, model: Any) -> Published:
    """VGG16's weights, as `btjax.weights.vgg16.load`."""
    del model
    return vgg16.load(path)


def load_pretrained(config: Config, load: Load) -> dict[str, Any] | None:
    """The published weights below the head as variables; None for `random`.

    Args:
      config: of a system whose `extra` is a `TransferConfig`.
      load: reads the system's weights.

    Raises:
      InputError: no or wrong weights, or weights that were trained under another scale.
    """
    transfer, scale = config.extra, config.preprocessing.scale
    if transfer.weights == RANDOM:
        return None
    if not transfer.weights:
        raise InputError(
            f"--weights is missing: expected ImageNet's for {find_system(config.system).title} (scripts/download has "
            "Keras's files), or `random`"
        )
    weights = load(transfer.weights, config.model)
    if weights.scale != scale:
        raise InputError(f"--scale={scale}: the weights in {transfer.weights} expect --scale={weights.scale}")
    return weights.base


def prepare_transfer(
    config: Config, slices: Slices, split: Split, place: Place, *, load: Load = load_vgg16
) -> Prepared:
    """Loads the weights, and computes the features of all slices where nothing below them changes.

    Args:
      config: of a system whose `extra` is a `TransferConfig`.
      slices: the data set.
      split: its rows.
      place: where features are kept.
      load: reads the system's weights.

    Raises:
      InputError: see `load_pretrained`, `split_frozen`; a cache that cannot be written; a classical head without
        frozen features, or one that cannot weigh classes.
    """
    transfer: TransferConfig = config.extra
    check_weights(transfer.head, config.training.class_weights)
    task: Any = config.task()
    pretrained = load_pretrained(config, load)
    stage, frozen = frozen_stage(config, slices.images.shape[1])
    known = pretrained is not None and frozen.keys() <= pretrained["params"].keys()
    if task.needs_masks and slices.masks is None:
        raise InputError(masks_missing(config))
    if known and pretrained is not None and stage is not None and _may_keep_features(config):
        examples = _features(FrozenPart(task.model, pretrained, stage), config, slices, split, place)
        head = None if transfer.head == "dense" else transfer.head
        copies = transfer.feature_copies if config.augmentation.active else 0
        return Prepared(dataclasses.replace(task, start=stage), examples, pretrained, stage, head, copies)
    if transfer.head != "dense":
        raise InputError(
            f"--head={transfer.head}: needs features: --weights, and all below the head frozen, such as "
            "--layer_rates=block*=0,*=1 of VGG16 or logits/*=1,*=0 of other networks"
        )
    return Prepared(task, Examples.of(slices, split, masks=task.needs_masks), pretrained)


def keeps_features(config: Config, size: int) -> bool:
    """Whether a frozen stage's output is computed once for every slice of `size` pixels, if its weights are published.

    Args:
      config: of any system.
      size: side of the slices.
    """
    return _may_keep_features(config) and frozen_stage(config, size)[0] is not None


def _may_keep_features(config: Config) -> bool:
    """Whether a config's options let features be kept, where it has a frozen stage."""
    transfer = config.extra
    if not isinstance(transfer, TransferConfig) or not transfer.feature_cache or config.task().needs_masks:
        return False
    return not config.augmentation.active or transfer.feature_copies > 0


def frozen_stage(config: Config, size: int) -> tuple[str | None, dict[str, Any]]:
    """The highest stage whose output can be computed once, since neither it nor any stage below it trains.

    Args:
      config: of a system whose `extra` is a `TransferConfig`.
      size: side of the slices in pixels.

    Returns:
      The stage's name, or None; and the shapes of the parameters that do not train.
    """
    task: Any = config.task()
    shapes = jax.eval_shape(lambda key: task.initialise(key, size), jax.random.key(0))
    trained, frozen = split_frozen(shapes["params"], config.training.layer_rates)
    stage = highest_frozen(task.model, trained)
    if stage is not None:
        inputs = jax.ShapeDtypeStruct((1, size, size, config.preprocessing.channels), np.float32)
        stage = highest_cut(task.model, shapes, inputs, stage)
    return stage, frozen


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
