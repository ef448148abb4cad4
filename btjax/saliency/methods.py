"""Every saliency method by name, and maps of many images."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable

import jax
import numpy as np

from btjax.base.errors import InputError
from btjax.saliency import activations, gradients, perturbations, relevance
from btjax.saliency.classifier import Classifier, Logits

PASSES = ("one", "tens", "hundreds")
"""How many passes through the network a method takes for an image."""


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """A saliency method.

    Attributes:
      name: its name in `METHODS`.
      attribute: `attribute(logits, images, targets, key) -> maps`, see `btjax.saliency.gradients`.
      description: one line.
      reference: authors and year.
      signed: whether the maps have negative values where something speaks against the class.
      passes: how many passes through the network an image takes, by its default options: of `PASSES`.
      needs_classifier: whether `logits` must be a `Classifier`, not only a function.
      needs_options: options without which it does not run.
    """

    name: str
    attribute: Callable[..., jax.Array]
    description: str
    reference: str
    signed: bool = False
    passes: str = "one"
    needs_classifier: bool = False
    needs_options: tuple[str, ...] = ()

    def __call__(self, logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array) -> jax.Array:
        """The maps, float32 [B, S, S]."""
        return self.attribute(logits, images, targets, key)

    def bind(self, **options) -> Method:
        """The method with other options; make it once, since each has a compiled program of its own."""
        needed = tuple(name for name in self.needs_options if name not in options)
        attribute = functools.partial(self.attribute, **options)
        return dataclasses.replace(self, attribute=attribute, needs_options=needed)


_LIST = (
    Method(
        "gradient",
        gradients.gradient,
        "magnitude of the logit's gradient by the pixels",
        "Simonyan et al. 2014",
    ),
    Method(
        "gradient_times_input",
        gradients.gradient_times_input,
        "gradient times pixel",
        "Shrikumar et al. 2016",
        signed=True,
    ),
    Method(
        "smooth_grad",
        gradients.smooth_grad,
        "magnitude of the mean gradient of noisy copies",
        "Smilkov et al. 2017",
        passes="tens",
    ),
    Method(
        "smooth_grad_squared",
        gradients.smooth_grad_squared,
        "mean squared gradient of noisy copies",
        "Hooker et al. 2019",
        passes="tens",
    ),
    Method(
        "var_grad",
        gradients.var_grad,
        "variance of the gradient over noisy copies",
        "Adebayo et al. 2018",
        passes="tens",
    ),
    Method(
        "integrated_gradients",
        gradients.integrated_gradients,
        "gradient integrated over the line from a baseline, times the way",
        "Sundararajan et al. 2017",
        signed=True,
        passes="tens",
    ),
    Method(
        "expected_gradients",
        gradients.expected_gradients,
        "integrated gradients averaged over baselines",
        "Erion et al. 2021",
        signed=True,
        passes="tens",
        needs_options=("baselines",),
    ),
    Method(
        "guided_backprop",
        gradients.guided_backprop,
        "gradient that passes live units where it is positive",
        "Springenberg et al. 2015",
        signed=True,
        needs_classifier=True,
    ),
    Method(
        "deconvnet",
        gradients.deconvnet,
        "gradient that passes every unit where it is positive",
        "Zeiler & Fergus 2014",
        signed=True,
        needs_classifier=True,
    ),
    Method(
        "grad_cam",
        activations.grad_cam,
        "channels weighed by their mean gradients",
        "Selvaraju et al. 2017",
        needs_classifier=True,
    ),
    Method(
        "grad_cam_plus_plus",
        activations.grad_cam_plus_plus,
        "channels weighed by their positive gradients, place by place",
        "Chattopadhay et al. 2018",
        needs_classifier=True,
    ),
    Method(
        "layer_cam",
        activations.layer_cam,
        "activations times their positive gradients",
        "Jiang et al. 2021",
        needs_classifier=True,
    ),
    Method(
        "hires_cam",
        activations.hires_cam,
        "activations times their gradients",
        "Draelos & Carin 2020",
        signed=True,
        needs_classifier=True,
    ),
    Method(
        "score_cam",
        activations.score_cam,
        "channels weighed by the logit of the image seen through them",
        "Wang et al. 2020",
        passes="hundreds",
        needs_classifier=True,
    ),
    Method(
        "occlusion",
        perturbations.occlusion,
        "fall of the logit when a square is hidden",
        "Zeiler & Fergus 2014",
        signed=True,
        passes="hundreds",
    ),
    Method(
        "rise",
        perturbations.rise,
        "random masks averaged by the probability under each",
        "Petsiuk et al. 2018",
        passes="hundreds",
    ),
    Method(
        "lrp_epsilon",
        relevance.lrp_epsilon,
        "the logit shared out by contributions, layer by layer",
        "Bach et al. 2015",
        signed=True,
        needs_classifier=True,
    ),
    Method(
        "lrp_alpha_beta",
        relevance.lrp_alpha_beta,
        "the same, twice the positive contributions less the negative",
        "Bach et al. 2015",
        signed=True,
        needs_classifier=True,
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _LIST}
"""The methods by name, with their default options."""


def find_methods(names: Iterable[str]) -> list[Method]:
    """The methods of the given names, in their order, each once; the name "all" stands for every method.

    Raises:
      InputError: a name that is no method's.
    """
    found = {}
    for name in names:
        if name != "all" and name not in METHODS:
            raise InputError(f"saliency method {name!r}: expected all, or some of {', '.join(METHODS)}")
        found |= METHODS if name == "all" else {name: METHODS[name]}
    return list(found.values())


def attribution_maps(
    classifier: Classifier | Logits,
    images: np.ndarray,
    targets: np.ndarray,
    key: jax.Array,
    method: Method,
    batch_size: int = 16,
) -> np.ndarray:
    """The maps of any number of images, batch by batch.

    All batches have one size, the last filled up, so that the program is compiled once; it is kept for later calls with
    the same method, model (whatever its weights) and sizes. Each image has a random key of its own, made from `key` and
    its row: its map does not depend on the batch size.

    Args:
      classifier: a `Classifier`; a plain function, made once, does for methods that need no more.
      images: the network's inputs, float32 [N, S, S, C].
      targets: int [N], the class whose logit is explained, 0 to classes - 1.
      key: a random key.
      method: of `METHODS`, or one with other options.
      batch_size: images at once, at least 1: memory grows with the larger of it and the method's `chunk`.

    Returns:
      float32 [N, S, S].

    Raises:
      InputError: the method lacks an option, or does not fit the model.
      TypeError: the method needs a `Classifier`.
      ValueError: images and targets of different lengths, no images, or a target that is no class.
    """
    images, targets = np.asarray(images), np.asarray(targets, np.int32)
    if not len(images) or images.ndim != 4 or targets.shape != images.shape[:1]:
        raise ValueError(f"expected images [N, S, S, C] and targets [N], got {images.shape} and {targets.shape}")
    if method.needs_options:
        raise InputError(f"saliency method {method.name}: found no {', '.join(method.needs_options)}; bind them to it")
    classes = jax.eval_shape(classifier, jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)).shape[-1]
    if targets.min() < 0 or targets.max() >= classes:
        raise ValueError(f"targets from {targets.min()} to {targets.max()}, expected 0 to {classes - 1}")
    logits = classifier if isinstance(classifier, Classifier) else jax.tree_util.Partial(classifier)
    size = min(batch_size, len(images))
    maps = np.empty(images.shape[:3], np.float32)
    for first in range(0, len(images), size):
        rows = np.minimum(np.arange(first, first + size), len(images) - 1)
        batch = _attribute(logits, images[rows], targets[rows], key, rows.astype(np.int32), attribute=method.attribute)
        maps[first : first + size] = batch[: len(images) - first]
    return maps


@functools.partial(jax.jit, static_argnames="attribute")
def _attribute(logits, images, targets, key, rows, *, attribute):
    """The maps of a batch, each image with the key of its row."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    return attribute(logits, images, targets, keys)
