"""What training means: a task turns a batch into a loss, and into the sums from which metrics are computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.base.keys import random_key
from btjax.data.augment import Augmentation
from btjax.data.bits import unpack_masks
from btjax.data.preprocess import Preprocessing
from btjax.features.deep import highest_frozen
from btjax.nn.network import Network
from btjax.saliency.classifier import Classifier, replace_map, stage_map
from btjax.training.guidance import Guidance, score_gradient

if TYPE_CHECKING:
    from btjax.training.state import TrainState

Batch = dict[str, jax.Array]
"""images uint8 [B, S, S] (or features float32 [B, ...]), labels int32 [B], counted bool [B], False for padding; masks
uint8 [B, bytes], packed bits, for a task that needs them; weights float32 [B] of the rows in the training loss, where
they are not all the same."""

Terms = tuple[tuple[jax.Array, ...], dict[str, jax.Array]]
"""Further terms of the loss, float32 [B] each, and further metrics, float32 [B], by name."""

Live = Callable[[Any, str | None, str | None, Any], tuple[Any, Any]]
"""`live(hidden, start, stop, batch_stats) -> (output of stop, new batch_stats)`: a network in training."""

Passes = tuple[Callable[[Any], Any], Live, str | None]
"""A network in training: through what is frozen; through the rest; and the stage between the two, or None."""

Loss = tuple[jax.Array, tuple[dict[str, jax.Array], Any]]
"""The mean loss over the counted rows, float32 scalar; the sums of metrics and the new batch_stats."""


class Task(Protocol):
    """Pure functions that say what training means; see `Classification`, `Reconstruction` and `Segmentation`."""

    name: ClassVar[str]
    """What it is called in reports: classification, reconstruction, segmentation."""

    trains: ClassVar[str]
    """What comes of it, in words: a classifier, an autoencoder, a segmenter."""

    outlines: ClassVar[bool]
    """Whether its network outlines tumours: such a task has `pixel_logits`, see `Segmentation`."""

    needs_labels: ClassVar[bool]
    """Whether slices with unknown labels are of no use."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """What `evaluate` sums, which `--select` can choose a checkpoint by."""
        ...

    @property
    def needs_masks(self) -> bool:
        """Whether it trains on the tumour masks of the slices."""
        ...

    @property
    def model(self) -> Any:
        """The Flax module; it may name in `frozen` the sub-trees of `params` that never train."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """From uint8 slices to the model's inputs."""
        ...

    @property
    def augmentation(self) -> Augmentation:
        """Random changes of training slices."""
        ...

    def initialise(self, key: jax.Array, image_size: int) -> dict[str, Any]:
        """Fresh variables {"params", "batch_stats"} of the whole model, for slices of `image_size` pixels."""
        ...

    def with_trained(self, trained: dict[str, Any]) -> Self:
        """The same task for a run in which only these params train."""
        ...

    def loss(self, params: Any, state: TrainState, batch: Batch) -> Loss:
        """The training loss of a batch.

        Args:
          params: what the loss is differentiated with respect to; takes the place of `state.params`.
          state: the state before the step; its step and key determine the augmentation and the dropout.
          batch: see `Batch`; a task without labels is never given weights.
        """
        ...

    def outputs(self, variables: dict[str, Any], images: jax.Array) -> jax.Array:
        """The model's outputs for uint8 slices [B, S, S] (or features), without augmentation or dropout."""
        ...

    def evaluate(self, variables: dict[str, Any], batch: Batch) -> dict[str, jax.Array]:
        """Sums of metrics over a batch's counted rows: "count", "loss" and the task's own."""
        ...


@dataclasses.dataclass(frozen=True)
class Classification:
    """Softmax cross-entropy plus the model's own penalty.

    In training a batch may bring weights w of its rows: the cross-entropy is then sum(w * ce) / rows, as in Keras. It
    is not divided by sum(w), as torch.nn.CrossEntropyLoss does, which would weigh a slice by what else is in its batch.
    Balanced weights have mean 1 over the training rows, so the mean over an epoch is what sum(w * ce) / sum(w) is for
    all rows at once. Metrics other than the training loss, and all of validation, do not know weights.

    Attributes:
      model: a network (see `btjax.nn.network`) from inputs to logits [B, classes].
      preprocessing: from uint8 slices to the model's inputs.
      augmentation: random changes of training slices.
      start: None, or the stage whose output, computed beforehand, takes the place of the slices.
      frozen_below: None, or the highest stage such that neither it nor any stage below it trains. In training these
        stages run as in inference: running statistics that do not move, no dropout.
      guidance: None, or what a saliency map outside the tumour costs in training.
      label_smoothing: the share of a training target that all classes have alike.
      mixup: 0, or the parameter of the Beta distribution by whose draws two slices of a training batch are mixed, and
        their targets; features are mixed where they take the place of slices.
    """

    model: Network
    preprocessing: Preprocessing
    augmentation: Augmentation
    start: str | None = None
    frozen_below: str | None = None
    guidance: Guidance | None = None
    label_smoothing: float = 0.0
    mixup: float = 0.0

    name: ClassVar[str] = "classification"
    trains: ClassVar[str] = "a classifier"
    outlines: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True

    @property
    def metrics(self) -> tuple[str, ...]:
        """As `Task.metrics`."""
        return ("loss", "accuracy")

    @property
    def needs_masks(self) -> bool:
        """As `Task.needs_masks`: only guidance looks at them."""
        return self.guidance is not None

    def initialise(self, key: jax.Array, image_size: int) -> dict[str, Any]:
        """As `Task.initialise`."""
        return initialise(self.model, key, image_size, self.preprocessing.channels)

    def with_trained(self, trained: dict[str, Any]) -> Classification:
        """As `Task.with_trained`: `frozen_below` is set to what lies below the lowest stage with params that train."""
        return dataclasses.replace(self, frozen_below=highest_frozen(self.model, trained))

    def loss(self, params: Any, state: TrainState, batch: Batch) -> Loss:
        """As `Task.loss`."""
        variables = state.replace(params=params).variables
        images, masks = self._augmented(state, batch)
        images, targets = self._targets(images, batch["labels"], random_key(state.key, "mixup", state.step))
        frozen = self.frozen_below if self._place(self.frozen_below) > self._place(self.start) else self.start

        def still(inputs):
            """The output of what is frozen, as in inference."""
            if frozen == self.start:
                return inputs
            return self.model.apply(variables, inputs, start=self.start, stop=frozen)

        def live(hidden, start, stop, batch_stats):
            """The output of `stop` and the new running statistics, as in training."""
            output, updated = self.model.apply(
                variables | {"batch_stats": batch_stats},
                hidden,
                train=True,
                counted=batch["counted"],
                start=start,
                stop=stop,
                mutable=["batch_stats"],
                rngs={"dropout": random_key(state.key, "dropout", state.step)},
            )
            return output, updated.get("batch_stats", {})

        passes = still, live, frozen
        logits, terms, batch_stats = self._forward(passes, self._inputs(images), variables, batch | {"masks": masks})
        sums = self._sums(logits, batch | {"targets": targets}, variables["params"], terms)
        return sums["loss"] / sums["count"], (sums, batch_stats)

    def _targets(self, images: jax.Array, labels: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """The training inputs, mixed if so asked, and their targets float32 [B, classes]; None for the labels alone."""
        if not self.label_smoothing and not self.mixup:
            return images, None
        model: Any = self.model
        targets = optax.smooth_labels(jax.nn.one_hot(labels, model.classes), self.label_smoothing)
        if self.mixup:
            mix, order = jax.random.split(key)
            share = jax.random.beta(mix, self.mixup, self.mixup)
            other = jax.random.permutation(order, len(labels))

            def mixed(values: jax.Array) -> jax.Array:
                values = values.astype(jnp.float32)
                return share * values + (1 - share) * jnp.take(values, other, axis=0)

            images, targets = mixed(images), mixed(targets)
        return images, targets

    def _augmented(self, state: TrainState, batch: Batch) -> tuple[jax.Array, jax.Array | None]:
        """The training slices (or their features as they are), and bool masks [B, S, S] where they are needed."""
        images, key = batch["images"], random_key(state.key, "augmentation", state.step)
        if self.start is not None:
            return images, None
        if not self.needs_masks:
            return self.augmentation(images, key), None
        return self.augmentation.with_masks(images, unpack_masks(batch["masks"], images.shape[1]), key)

    def _forward(
        self,
        passes: Passes,
        inputs: jax.Array,
        variables: dict[str, Any],
        batch: dict[str, Any],
    ) -> tuple[jax.Array, Terms, Any]:
        """A training pass.

        Args:
          passes: see `Passes`.
          inputs: of the network, or the features that take their place.
          variables: of the network.
          batch: with its masks, where they are needed.

        Returns:
          Logits [B, classes]; further terms of the loss, and metrics; the new batch_stats.
        """
        stats, guidance, (still, live, start) = variables["batch_stats"], self.guidance, passes
        if guidance is None:
            return self._run(live, still(inputs), (start, None), stats, batch)
        cut, values, output, below = start, inputs, None, ((), {})
        if guidance.method == "grad_cam":
            cut = self._map_stage(variables, batch["images"].shape[1], start)
            output, below, stats = self._run(live, still(inputs), (start, cut), stats, batch)
            values = stage_map(output)

        def rest(values):
            joined = still(values) if output is None else replace_map(output, values)
            logits, above, updated = self._run(live, joined, (cut, None), stats, batch)
            return logits, (above, updated)

        gradients, logits, (above, stats) = score_gradient(rest, values, batch["labels"])
        term = guidance(guidance.map_of(values, gradients), batch["masks"])
        return logits, ((*below[0], *above[0], term), below[1] | above[1]), stats

    def _run(
        self, live: Live, hidden: Any, cuts: tuple[str | None, str | None], batch_stats: Any, batch: dict[str, Any]
    ) -> tuple[Any, Terms, Any]:
        """The stages between two, in training: the output, what these stages add to the loss, the new batch_stats."""
        del batch
        output, updated = live(hidden, *cuts, batch_stats)
        return output, ((), {}), updated

    def _map_stage(self, variables: dict[str, Any], image_size: int, start: str | None) -> str:
        """The stage whose map guides."""
        inputs = jax.ShapeDtypeStruct((1, image_size, image_size, self.preprocessing.channels), jnp.float32)
        stage = Classifier(self.model, variables).map_layer(inputs)
        if self._place(stage) <= self._place(start):
            raise InputError(f"--guidance: the map's stage {stage} is frozen, expected --layer_rates to train it")
        return stage

    def outputs(self, variables: dict[str, Any], images: jax.Array) -> jax.Array:
        """Logits float32 [B, classes], as `Task.outputs`."""
        return self.model.apply(variables, self._inputs(images), start=self.start)

    def evaluate(self, variables: dict[str, Any], batch: Batch) -> dict[str, jax.Array]:
        """As `Task.evaluate`, with "accuracy"."""
        return self._sums(self.outputs(variables, batch["images"]), batch, variables["params"])

    def _inputs(self, images: jax.Array) -> jax.Array:
        return self.preprocessing(images) if self.start is None else images

    def _place(self, stage: str | None) -> int:
        """How many stages end with this one."""
        return 0 if stage is None else self.model.layers.index(stage) + 1

    def _sums(
        self, logits: jax.Array, batch: dict[str, Any], params: Any, beside: Terms = ((), {})
    ) -> dict[str, jax.Array]:
        """Sums over a batch, whose `targets` and `weights` count where it has them, as in training."""
        counted, targets, weights = batch["counted"].astype(jnp.float32), batch.get("targets"), batch.get("weights")
        if targets is None:
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"])
        else:
            losses = optax.softmax_cross_entropy(logits, targets)
        terms, metrics = beside
        losses = sum(terms, losses)
        losses = losses if weights is None else losses * weights
        correct = (jnp.argmax(logits, axis=-1) == batch["labels"]).astype(jnp.float32)
        count = jnp.sum(counted)
        return {
            "count": count,
            "loss": jnp.sum(losses * counted) + count * self.model.penalty(params),
            "accuracy": jnp.sum(correct * counted),
            **{name: jnp.sum(values * counted) for name, values in metrics.items()},
        }


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """Mean absolute error between a model's output and its own input (the paper's Figure 7).

    Attributes:
      model: a Flax module from inputs [B, S, S, C] to images of the same shape; it takes `train` and `counted`.
      preprocessing: from uint8 slices to the model's inputs.
      augmentation: random changes of training slices; the model reconstructs the changed slice.
    """

    model: nn.Module
    preprocessing: Preprocessing
    augmentation: Augmentation

    name: ClassVar[str] = "reconstruction"
    trains: ClassVar[str] = "an autoencoder"
    outlines: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """As `Task.metrics`."""
        return ("loss", "squared_error")

    @property
    def needs_masks(self) -> bool:
        """As `Task.needs_masks`."""
        return False

    def initialise(self, key: jax.Array, image_size: int) -> dict[str, Any]:
        """As `Task.initialise`."""
        return initialise(self.model, key, image_size, self.preprocessing.channels)

    def with_trained(self, trained: dict[str, Any]) -> Reconstruction:
        """As `Task.with_trained`: nothing changes."""
        del trained
        return self

    def loss(self, params: Any, state: TrainState, batch: Batch) -> Loss:
        """As `Task.loss`."""
        images = self.augmentation(batch["images"], random_key(state.key, "augmentation", state.step))
        inputs = self.preprocessing(images)
        outputs, updated = self.model.apply(
            state.replace(params=params).variables,
            inputs,
            train=True,
            counted=batch["counted"],
            mutable=["batch_stats"],
            rngs={"dropout": random_key(state.key, "dropout", state.step)},
        )
        sums = self._sums(outputs, inputs, batch)
        return sums["loss"] / sums["count"], (sums, updated.get("batch_stats", {}))

    def outputs(self, variables: dict[str, Any], images: jax.Array) -> jax.Array:
        """Reconstructed images float32 [B, S, S, C], as `Task.outputs`."""
        outputs: Any = self.model.apply(variables, self.preprocessing(images))
        return outputs

    def evaluate(self, variables: dict[str, Any], batch: Batch) -> dict[str, jax.Array]:
        """As `Task.evaluate`, with "squared_error"."""
        return self._sums(self.outputs(variables, batch["images"]), self.preprocessing(batch["images"]), batch)

    def _sums(self, outputs: jax.Array, inputs: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        counted, error = batch["counted"].astype(jnp.float32), outputs - inputs
        return {
            "count": jnp.sum(counted),
            "loss": jnp.sum(jnp.mean(jnp.abs(error), axis=(1, 2, 3)) * counted),
            "squared_error": jnp.sum(jnp.mean(jnp.square(error), axis=(1, 2, 3)) * counted),
        }


def initialise(model: Any, key: jax.Array, image_size: int, channels: int) -> dict[str, Any]:
    """Fresh variables {"params", "batch_stats"} of a Flax module for slices of `image_size` pixels."""
    variables = model.init(key, jnp.zeros((1, image_size, image_size, channels), jnp.float32))
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}
