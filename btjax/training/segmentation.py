"""Segmentation: a network learns which pixels are tumour, and of which class, from the data set's masks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from btjax.base.keys import random_key
from btjax.data.augment import Augmentation
from btjax.data.bits import unpack_masks
from btjax.data.preprocess import Preprocessing
from btjax.models.segmenter import tumour_probability
from btjax.nn.network import Network
from btjax.training.tasks import Batch, Loss, initialise

if TYPE_CHECKING:
    from btjax.training.state import TrainState

SMOOTHING = 1.0
"""Pixels added to both terms of the soft Dice: where there is no tumour, an outline of few pixels costs little."""


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """Softmax cross-entropy of pixel classes, and soft Dice of tumour against background, plus the model's penalty.

    A pixel's class is 0 for the background and 1 + the slice's label in its mask. An empty mask is background alone.
    The loss of a slice is `(1 - dice_weight)` times the mean cross-entropy of its pixels and `dice_weight` times
    `soft_dice` (Milletari, Navab and Ahmadi, "V-Net", 3DV 2016). Weights of rows multiply both, as in `Classification`.

    Masks are compared at the resolution of the model's output, where a pixel is tumour if at least half of the slice's
    pixels that it covers are.

    Attributes:
      model: a network (see `btjax.nn.network`) from inputs to logits [B, H, W, 1 + classes], H and W a whole part of S.
      preprocessing: from uint8 slices to the model's inputs.
      augmentation: random changes of training slices; masks follow their slices.
      dice_weight: the share of soft Dice in the loss, 0 to 1.
    """

    model: Network
    preprocessing: Preprocessing
    augmentation: Augmentation
    dice_weight: float = 0.5

    name: ClassVar[str] = "segmentation"
    trains: ClassVar[str] = "a segmenter"
    outlines: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True

    @property
    def metrics(self) -> tuple[str, ...]:
        """As `Task.metrics`."""
        return ("loss", "dice")

    @property
    def needs_masks(self) -> bool:
        """As `Task.needs_masks`."""
        return True

    def initialise(self, key: jax.Array, image_size: int) -> dict[str, Any]:
        """As `Task.initialise`."""
        return initialise(self.model, key, image_size, self.preprocessing.channels)

    def with_trained(self, trained: dict[str, Any]) -> Segmentation:
        """As `Task.with_trained`: nothing changes."""
        del trained
        return self

    def loss(self, params: Any, state: TrainState, batch: Batch) -> Loss:
        """As `Task.loss`."""
        key = random_key(state.key, "augmentation", state.step)
        images, masks = self.augmentation.with_masks(batch["images"], _masks(batch), key)
        variables = state.replace(params=params).variables
        logits, updated = self.model.apply(
            variables,
            self.preprocessing(images),
            train=True,
            counted=batch["counted"],
            mutable=["batch_stats"],
            rngs={"dropout": random_key(state.key, "dropout", state.step)},
        )
        sums = self._sums(logits, masks, batch, variables["params"], batch.get("weights"))
        return sums["loss"] / sums["count"], (sums, updated.get("batch_stats", {}))

    def outputs(self, variables: dict[str, Any], images: jax.Array) -> jax.Array:
        """Pixel logits float32 [B, H, W, 1 + classes], background first, as `Task.outputs`."""
        return self.model.apply(variables, self.preprocessing(images))

    def pixel_logits(self, variables: dict[str, Any], images: jax.Array) -> jax.Array:
        """The same: logits of pixels."""
        return self.outputs(variables, images)

    def evaluate(self, variables: dict[str, Any], batch: Batch) -> dict[str, jax.Array]:
        """As `Task.evaluate`, with "dice": the Dice of tumour or not, of each slice, at the output's resolution."""
        logits = self.outputs(variables, batch["images"])
        return self._sums(logits, _masks(batch), batch, variables["params"])

    def _sums(
        self, logits: jax.Array, masks: jax.Array, batch: Batch, params: Any, weights: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        counted = batch["counted"].astype(jnp.float32)
        losses, dice = outline_losses(logits, masks, batch["labels"], self.dice_weight)
        losses = losses if weights is None else losses * weights
        count = jnp.sum(counted)
        return {
            "count": count,
            "loss": jnp.sum(losses * counted) + count * self.model.penalty(params),
            "dice": jnp.sum(dice * counted),
        }


def outline_losses(
    logits: jax.Array, masks: jax.Array, labels: jax.Array, dice_weight: float
) -> tuple[jax.Array, jax.Array]:
    """The loss of each slice's pixels, as `Segmentation` says, and its Dice of tumour or not: float32 [B] each.

    Args:
      logits: float32 [B, H, W, 1 + classes], the background first.
      masks: bool [B, S, S], S a multiple of H.
      labels: int32 [B].
      dice_weight: the share of soft Dice in the loss.
    """
    tumour = coarse_masks(masks, logits.shape[1])
    classes = jnp.where(tumour, 1 + labels[:, None, None], 0)
    entropies = optax.softmax_cross_entropy_with_integer_labels(logits, classes).mean(axis=(1, 2))
    probabilities = tumour_probability(logits)
    losses = (1 - dice_weight) * entropies + dice_weight * soft_dice(probabilities, tumour)
    return losses, _dice(probabilities > 0.5, tumour)


def soft_dice(probabilities: jax.Array, masks: jax.Array) -> jax.Array:
    """One minus the Dice of probabilities and mask, of each slice: float32 [B].

    With p the probabilities, m the mask and s = `SMOOTHING`: 1 - (2 sum(p m) + s) / (sum(p) + sum(m) + s).

    Args:
      probabilities: float32 [B, H, W] in [0, 1].
      masks: bool [B, H, W]; one may be empty.

    Example:
      >>> soft_dice(jnp.zeros((1, 2, 2)), jnp.zeros((1, 2, 2), bool)).tolist()
      [0.0]
    """
    shared, sizes = _overlap(probabilities, masks)
    return 1 - (2 * shared + SMOOTHING) / (sizes + SMOOTHING)


def coarse_masks(masks: jax.Array, size: int) -> jax.Array:
    """Masks at a lower resolution: tumour where at least half of the pixels that a pixel covers are.

    Args:
      masks: bool [B, S, S].
      size: the side of the result; S must be a multiple.

    Returns:
      bool [B, size, size].

    Raises:
      ValueError: a size that does not divide S.
    """
    count, side = masks.shape[:2]
    if side % size:
        raise ValueError(f"masks of {side} pixels cannot be compared with an output of {size}")
    factor = side // size
    blocks = masks.reshape(count, size, factor, size, factor).astype(jnp.float32)
    return blocks.mean(axis=(2, 4)) >= 0.5


def _masks(batch: Batch) -> jax.Array:
    """The batch's masks, bool [B, S, S]."""
    return unpack_masks(batch["masks"], batch["images"].shape[1])


def _dice(outlines: jax.Array, masks: jax.Array) -> jax.Array:
    """The Dice coefficient of each slice, float32 [B]; 1 where both are empty."""
    shared, sizes = _overlap(outlines.astype(jnp.float32), masks)
    return jnp.where(sizes == 0, 1.0, 2 * shared / jnp.maximum(sizes, 1))


def _overlap(values: jax.Array, masks: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What values in [0, 1] and masks share, and their sizes together, in pixels: float32 [B] each."""
    masks = masks.astype(jnp.float32)
    return jnp.sum(values * masks, axis=(1, 2)), jnp.sum(values, axis=(1, 2)) + jnp.sum(masks, axis=(1, 2))
