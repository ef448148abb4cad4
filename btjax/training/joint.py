"""Joint training: a network that outlines the tumour and classifies the slice learns both at once."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from btjax.data.bits import unpack_masks
from btjax.saliency.activations import PIXELS
from btjax.training.segmentation import outline_losses
from btjax.training.tasks import Batch, Classification, Live, Terms

if TYPE_CHECKING:
    import jax


@dataclasses.dataclass(frozen=True)
class JointClassification(Classification):
    """`Classification` by a network with a stage `pixels`, whose loss is `Segmentation`'s, weighed and added.

    Attributes:
      segmentation: weight of the pixels' loss; 0 trains without masks, and the outline is what serves the class.
      dice_weight: the share of soft Dice in it, as in `Segmentation`.
    """

    segmentation: float = 1.0
    dice_weight: float = 0.5

    outlines: ClassVar[bool] = True

    @property
    def metrics(self) -> tuple[str, ...]:
        """As `Task.metrics`: with the Dice where masks are there."""
        return (*super().metrics, "dice") if self.segmentation else super().metrics

    @property
    def needs_masks(self) -> bool:
        """As `Task.needs_masks`."""
        return self.segmentation > 0 or super().needs_masks

    def pixel_logits(self, variables: dict[str, Any], images: jax.Array) -> jax.Array:
        """Logits of background and classes of pixels, float32 [B, H, W, 1 + classes], of slices uint8 [B, S, S]."""
        return self.model.apply(variables, self._inputs(images), stop=PIXELS)[0]

    def evaluate(self, variables: dict[str, Any], batch: Batch) -> dict[str, jax.Array]:
        """As `Task.evaluate`, with "accuracy" and "dice"."""
        if not self.segmentation:
            return super().evaluate(variables, batch)
        pixels = self.model.apply(variables, self._inputs(batch["images"]), stop=PIXELS)
        masks = unpack_masks(batch["masks"], batch["images"].shape[1])
        logits: Any = self.model.apply(variables, pixels, start=PIXELS)
        return self._sums(logits, batch, variables["params"], self._terms(pixels[0], masks, batch["labels"]))

    def _run(
        self, live: Live, hidden: Any, cuts: tuple[str | None, str | None], batch_stats: Any, batch: dict[str, Any]
    ) -> tuple[Any, Terms, Any]:
        start, stop = cuts
        between = self._place(start) < self._place(PIXELS) <= self._place(stop or self.model.layers[-1])
        if not self.segmentation or not between:
            return super()._run(live, hidden, cuts, batch_stats, batch)
        pixels, batch_stats = live(hidden, start, PIXELS, batch_stats)
        output, batch_stats = live(pixels, PIXELS, stop, batch_stats)
        return output, self._terms(pixels[0], batch["masks"], batch["labels"]), batch_stats

    def _terms(self, pixels: jax.Array, masks: jax.Array, labels: jax.Array) -> Terms:
        losses, dice = outline_losses(pixels, masks, labels, self.dice_weight)
        return (self.segmentation * losses,), {"dice": dice}
