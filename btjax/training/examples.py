"""What a run trains on: slices or their features, labels, masks, and which rows are for what."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.errors import InputError
from btjax.base.rows import LazyRows
from btjax.data.bits import pack_masks

if TYPE_CHECKING:
    from btjax.data.splits import Split
    from btjax.readers.slices import Slices
    from btjax.training.config import TrainingConfig
    from btjax.training.tasks import Task

UNKNOWN = -1
"""The label of a slice whose class is not known."""


@dataclasses.dataclass(frozen=True)
class Examples:
    """What a run trains on.

    Attributes:
      images: uint8 [N, S, S], or float32 [M, ...] features of slices; put on the device once, or `LazyRows`, which are
        read while training goes on.
      labels: int32 [N or M]; `UNKNOWN` where there are none.
      train: int32 [copies, n], the rows to train on; epoch e takes those of copy e modulo copies.
      validation: int32 [m], none where nothing is chosen on them.
      image_size: S.
      masks: uint8 [N, bytes], the slices' masks as `btjax.data.bits.pack_masks` packs them; None where the task has no
        use for them.
    """

    images: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    image_size: int
    masks: np.ndarray | None = None

    @staticmethod
    def of(slices: Slices, split: Split, *, masks: bool = False) -> Examples:
        """The slices of a split, with their masks if asked; the test rows are not looked at.

        Raises:
          ValueError: slices that are not square.
        """
        if slices.images.shape[1] != slices.images.shape[2]:
            raise ValueError(f"slices are {list(slices.images.shape[1:])}, expected square ones")
        labels = np.full(len(slices), UNKNOWN) if slices.labels is None else slices.labels
        return Examples(
            slices.images,
            labels.astype(np.int32),
            split.train[None],
            split.validation,
            slices.images.shape[1],
            masks=_packed(slices.masks) if masks and slices.masks is not None else None,
        )

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What lies on the device: images, labels, and masks if there are any."""
        arrays = {"images": self.images, "labels": self.labels}
        return arrays if self.masks is None else arrays | {"masks": self.masks}

    def with_permuted_labels(self, seed: int) -> Examples:
        """The same with the labels of the rows to train on in random order, the same order in every copy."""
        order, labels = np.random.default_rng(seed).permutation(self.train.shape[1]), self.labels.copy()
        for rows in self.train:
            labels[rows] = self.labels[rows[order]]
        return dataclasses.replace(self, labels=labels)


def _packed(masks: np.ndarray | LazyRows) -> Any:
    """`pack_masks`, of masks that are read lazily when they are asked for."""
    if not isinstance(masks, LazyRows):
        return pack_masks(masks)
    return masks.mapped(pack_masks, (-(-masks.shape[1] * masks.shape[2] // 8),), np.uint8)


def check_examples(task: Task, config: TrainingConfig, examples: Examples) -> None:
    """Checks that a task can train on these examples under these options.

    Raises:
      InputError: labels or masks that the task needs are not known, or it has no metric to select by.
      ValueError: labels that are not indices of the model's classes.
    """
    chosen = config.select.removeprefix("validation_")
    if config.select != "last_epoch" and chosen not in task.metrics:
        known = ", ".join(f"validation_{name}" for name in task.metrics)
        raise InputError(f"--select={config.select}: a {task.name} has no {chosen}, expected one of {known}")
    if not len(examples.validation) and (config.select != "last_epoch" or config.schedule == "plateau"):
        found = f"--select={config.select}" if config.select != "last_epoch" else "--schedule=plateau"
        raise InputError(f"{found}: there are no validation slices to choose on, expected --select=last_epoch alone")
    if config.class_weights != "none" and not task.needs_labels:
        raise InputError(f"--class_weights={config.class_weights}: a {task.name} has no classes, expected none")
    rows = np.concatenate([examples.train.ravel(), examples.validation])
    unknown = int(np.sum(examples.labels[rows] == UNKNOWN))
    if task.needs_labels and unknown:
        raise InputError(f"{unknown} of {len(rows)} slices to train and validate on have no label, expected all to")
    classes = getattr(task.model, "classes", None)
    if task.needs_labels and classes is not None and (held := examples.labels[rows]).max() >= classes:
        raise ValueError(f"labels from {held.min()} to {held.max()}, expected 0 to {classes - 1}: the model's classes")
    if task.needs_masks and config.mixup:
        raise InputError(
            f"--mixup={config.mixup}: two slices' masks have no mean, expected 0 where masks are trained on"
        )
    if task.needs_masks and examples.masks is None:
        raise InputError(f"a {task.name} trains on tumour masks, found slices without, expected a data set with masks")
