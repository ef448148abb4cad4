"""Layer-wise relevance propagation (LRP): the target logit, distributed back to the pixels layer by layer.

Every method is `attribute(logits, images, targets, key, *, options) -> maps`. `logits` is a `Classifier` (TypeError for
a plain function); images are its inputs, float32 [B, S, S, C]; targets int32 [B]; the key is not used; the maps are
float32 [B, S, S], signed, summed over channels. A map's sum is the target logit, less what the biases and the
stabiliser absorb.

A stage is one convolution or dense layer, with or without the activation, or has no parameters (max pool, average,
flatten); for the epsilon rule batch normalisation may stand beside the layer, since in inference both are one affine
function. Any other stage is an InputError that names it: a residual block is no single layer.

References: Bach et al., On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance
propagation, PLOS ONE 2015 (the epsilon and alpha-beta rules); Montavon et al., Layer-wise relevance propagation: an
overview, 2019 (a relative epsilon); Kohlbrenner et al., Towards best practice in explaining neural network decisions
with LRP, IJCNN 2020 (the composite of rules; the flat rule of the first layer is from Lapuschkin et al. 2019).
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from btjax.base.errors import InputError
from btjax.saliency.classifier import Classifier, Logits, require_classifier

EPSILON = 0.25
"""The stabiliser of the epsilon rule by default, as a share of the layer's mean magnitude.

Montavon et al. (2019) take 0.25 of the root mean square. A constant as small as 1e-6 stabilises nothing: in a network
of ReLU and max pools without biases the map is then gradient times input (Ancona et al. 2018).
"""

_AFFINE = {"kernel", "bias", "scale", "mean", "var"}


def lrp_epsilon(
    logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array, *, epsilon: float = EPSILON
) -> jax.Array:
    """LRP-epsilon: each unit's relevance is shared by the contributions z_ij = a_i w_ij to its sum z_j (Bach 2015).

    R_i = sum_j z_ij R_j / (z_j + sign(z_j) epsilon m), with m the mean of |z| over the layer's units of that image: the
    units with small sums, whose contributions cancel, lose most of their relevance.

    Args:
      logits: a `Classifier`.
      images: float32 [B, S, S, C].
      targets: int32 [B].
      key: not used.
      epsilon: the stabiliser as a share of m, at least 0.

    Raises:
      InputError: a stage that LRP cannot treat, see the module.
      ValueError: a negative epsilon.
    """
    del key
    _check_epsilon(epsilon)

    def rule(layer, relevance):
        return _epsilon_rule(layer, relevance, epsilon)

    classifier = require_classifier(logits, "lrp_epsilon")
    _check_stages(classifier, "lrp_epsilon", normalised=True)
    return _propagate(classifier, images, targets, rule)


def lrp_alpha_beta(
    logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array, *, alpha: float = 2.0
) -> jax.Array:
    """LRP-alpha-beta: alpha of the relevance goes to the positive contributions, 1 - alpha to the negative (Bach 2015).

    All of it goes to the contributions of one sign where a unit has none of the other, so that it is conserved.

    Args:
      logits: a `Classifier`.
      images: float32 [B, S, S, C].
      targets: int32 [B].
      key: not used.
      alpha: at least 1; beta is alpha - 1. The z+ rule is alpha 1, beta 0.

    Raises:
      InputError: a stage that LRP cannot treat, see the module.
      ValueError: alpha below 1.
    """
    del key
    if alpha < 1:
        raise ValueError(f"alpha is {alpha}, expected at least 1")

    def rule(layer, relevance):
        return _alpha_beta_rule(layer, relevance, alpha)

    classifier = require_classifier(logits, "lrp_alpha_beta")
    _check_stages(classifier, "lrp_alpha_beta")
    return _propagate(classifier, images, targets, rule)


def lrp_composite(
    logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array, *, epsilon: float = EPSILON
) -> jax.Array:
    """LRP-composite: epsilon in the dense layers, z+ in the convolutions, flat in the first layer (Kohlbrenner 2020).

    The z+ rule (alpha 1, beta 0) shares relevance by the positive contributions only; the flat rule shares it equally
    between the inputs that a unit sees, whatever their values and weights.

    Args:
      logits: a `Classifier`.
      images: float32 [B, S, S, C].
      targets: int32 [B].
      key: not used.
      epsilon: as in `lrp_epsilon`.

    Raises:
      InputError: a stage that LRP cannot treat, see the module.
      ValueError: a negative epsilon.
    """
    del key
    _check_epsilon(epsilon)

    def rule(layer, relevance):
        if layer.first:
            return _flat_rule(layer, relevance)
        if layer.params["kernel"].ndim > 2:
            return _alpha_beta_rule(layer, relevance, 1.0)
        return _epsilon_rule(layer, relevance, epsilon)

    classifier = require_classifier(logits, "lrp_composite")
    _check_stages(classifier, "lrp_composite")
    return _propagate(classifier, images, targets, rule)


@dataclasses.dataclass(frozen=True, eq=False)
class _Layer:
    """One stage of the network, without its activation, which relevance passes unchanged.

    Attributes:
      params: its parameters; empty for pooling and the like.
      function: from (params, activations) to the sums of its units.
      activations: its inputs.
      first: whether it is the first layer with parameters.
    """

    params: dict[str, jax.Array]
    function: Callable[..., jax.Array]
    activations: jax.Array
    first: bool


def _epsilon_rule(layer: _Layer, relevance: jax.Array, epsilon: float) -> jax.Array:
    sums, pull = jax.vjp(functools.partial(layer.function, layer.params), layer.activations)
    magnitude = jnp.mean(jnp.abs(sums), axis=tuple(range(1, sums.ndim)), keepdims=True)
    stabilised = sums + jnp.where(sums < 0, -epsilon, epsilon).astype(sums.dtype) * magnitude
    return layer.activations * pull(_quotient(relevance, stabilised))[0]


def _alpha_beta_rule(layer: _Layer, relevance: jax.Array, alpha: float) -> jax.Array:
    positive = {name: jnp.maximum(leaf, 0) for name, leaf in layer.params.items()}
    negative = {name: jnp.minimum(leaf, 0) for name, leaf in layer.params.items()}
    above, below = jnp.maximum(layer.activations, 0), jnp.minimum(layer.activations, 0)

    def contributions(same, other):
        """The sums of the products of one sign, with the biases of that sign."""
        unbiased = other | ({"bias": jnp.zeros_like(other["bias"])} if "bias" in other else {})
        return lambda above, below: layer.function(same, above) + layer.function(unbiased, below)

    raised, pull_raised = jax.vjp(contributions(positive, negative), above, below)
    lowered, pull_lowered = jax.vjp(contributions(negative, positive), above, below)
    up = jnp.where(lowered < 0, jnp.where(raised > 0, alpha, 0.0), 1.0).astype(relevance.dtype)
    shares_up = pull_raised(up * _quotient(relevance, raised))
    shares_down = pull_lowered((1 - up) * _quotient(relevance, lowered))
    return above * (shares_up[0] + shares_down[0]) + below * (shares_up[1] + shares_down[1])


def _flat_rule(layer: _Layer, relevance: jax.Array) -> jax.Array:
    """Equal shares: the rule of a layer whose kernel and inputs are all 1; the padding is no input."""
    params = {
        name: jnp.zeros_like(leaf) if name == "bias" else jnp.ones_like(leaf) for name, leaf in layer.params.items()
    }
    counts, pull = jax.vjp(functools.partial(layer.function, params), jnp.ones_like(layer.activations))
    return pull(_quotient(relevance, counts))[0]


def _pooling_rule(layer: _Layer, relevance: jax.Array) -> jax.Array:
    """The shares of a layer without parameters: a max pool gives all relevance to the largest input."""
    sums, pull = jax.vjp(functools.partial(layer.function, layer.params), layer.activations)
    return layer.activations * pull(_quotient(relevance, sums))[0]


def _propagate(classifier: Classifier, images: jax.Array, targets: jax.Array, rule: Callable) -> jax.Array:
    """Propagates the target logits to the pixels by `rule(layer, relevance) -> relevance`, stage by stage."""
    affine = classifier.with_activation(lambda hidden: hidden)
    model, params, names = classifier.model, classifier.variables["params"], (None, *classifier.model.layers)
    inputs: list[Any] = [images]
    for start, stop in itertools.pairwise(names):
        output = model.apply(classifier.variables, inputs[-1], start=start, stop=stop)
        if isinstance(output, tuple):
            raise InputError(f"LRP: stage {stop!r} returns {len(output)} arrays, expected stages that return one")
        inputs.append(output)
    logits = inputs.pop()
    first = next((name for name in model.layers if params.get(name)), None)
    relevance = logits * jax.nn.one_hot(targets, logits.shape[-1], dtype=logits.dtype)
    for start, stop, activations in reversed(list(zip(names[:-1], names[1:], inputs, strict=True))):

        def function(params, activations, start=start, stop=stop):
            variables = affine.variables | {"params": affine.variables["params"] | {stop: params}}
            return affine.model.apply(variables, activations, start=start, stop=stop)

        layer = _Layer(params.get(stop, {}), function, activations, stop == first)
        relevance = rule(layer, relevance) if layer.params else _pooling_rule(layer, relevance)
    return jnp.sum(relevance, axis=-1)


def _check_stages(classifier: Classifier, method: str, normalised: bool = False) -> None:
    """Raises InputError, naming the stage, where one is not a single affine layer or without variables.

    Args:
      classifier: the network.
      method: what the message begins with.
      normalised: whether batch normalisation may stand beside the layer.
    """
    expected = "kernel and bias" + (", with batch normalisation or without" if normalised else "")
    for stage in classifier.model.layers:
        held = [
            path
            for kind, stages in classifier.variables.items()
            for path in traverse_util.flatten_dict({kind: dict(stages.get(stage, {}))})
        ]
        names = collections.Counter(path[-1] for path in held)
        plain = set(held) <= {("params", "kernel"), ("params", "bias")} and ("kernel" in names or not held)
        # Layer normalisation has a scale as well, but no running mean: it is not affine.
        affine = names.keys() <= _AFFINE and max(names["kernel"], names["mean"]) < 2 and names["scale"] <= names["mean"]
        if stage in getattr(classifier.model, "composite", ()):
            found = "holds several layers (the model's `composite`)"
        elif not (affine if normalised else plain):
            found = f"has the variables {', '.join(sorted('/'.join(path) for path in held))}"
        else:
            continue
        raise InputError(f"{method}: stage {stage!r} {found}, expected one convolution or dense layer with {expected}")


def _check_epsilon(epsilon: float) -> None:
    if epsilon < 0:
        raise ValueError(f"epsilon is {epsilon}, expected at least 0")


def _quotient(relevance: jax.Array, sums: jax.Array) -> jax.Array:
    """`relevance / sums`, 0 where the sum is 0."""
    return jnp.where(sums != 0, relevance / jnp.where(sums != 0, sums, 1), 0)
