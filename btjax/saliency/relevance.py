"""Layer-wise relevance propagation: the target logit, handed down layer by layer to the pixels (Bach et al. 2015).

Both rules are `attribute(logits, images, targets, key, *, options) -> maps`: logits a `Classifier` (TypeError for a
plain function) of layers that are affine (convolution, dense), followed or not by the activation, or without parameters
(max pool, average, flatten); images its inputs; targets int32 [B]; the key is ignored; maps float32 [B, S, S], signed,
summed over channels. A map's sum is the target logit, less what the biases and the stabiliser take.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from btjax.base.errors import InputError
from btjax.saliency.classifier import Classifier, Logits, require_classifier


def lrp_epsilon(
    logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array, *, epsilon: float = 1e-6
) -> jax.Array:
    """The epsilon rule: each unit's relevance is shared out by the contributions z_ij = a_i w_ij to its sum z_j.

    Args:
      logits, images, targets, key: see the module.
      epsilon: what is added to |z_j|; what falls to it and to the biases is not handed on.
    """

    def rule(name, layer, params, activations, relevance):
        if not params:
            return _share(layer, activations, relevance)
        sums, pull = jax.vjp(lambda hidden: layer(params, hidden), activations)
        (shares,) = pull(relevance / (sums + jnp.where(sums < 0, -epsilon, epsilon)))
        return activations * shares

    return _propagate(require_classifier(logits, "lrp_epsilon"), images, targets, rule)


def lrp_alpha_beta(
    logits: Logits, images: jax.Array, targets: jax.Array, key: jax.Array, *, alpha: float = 2.0
) -> jax.Array:
    """The alpha-beta rule: alpha times the relevance goes to the positive contributions, 1 - alpha to the negative.

    Relevance goes to contributions of one sign alone where a unit has none of the other, so that it is conserved.

    Args:
      logits, images, targets, key: see the module.
      alpha: at least 1; beta is alpha - 1.

    Raises:
      InputError: a layer with parameters other than kernel and bias.
    """

    def rule(name, layer, params, activations, relevance):
        if not params:
            return _share(layer, activations, relevance)
        if not params.keys() <= {"kernel", "bias"}:
            raise InputError(
                f"lrp_alpha_beta: layer {name!r} has the parameters {', '.join(params)}, expected kernel and bias"
            )
        positive = {name: jnp.maximum(leaf, 0) for name, leaf in params.items()}
        negative = {name: jnp.minimum(leaf, 0) for name, leaf in params.items()}
        above, below = jnp.maximum(activations, 0), jnp.minimum(activations, 0)

        def contributions(same, other):
            """The sums of the products of one sign, with the biases of that sign."""
            unbiased = other | ({"bias": jnp.zeros_like(other["bias"])} if "bias" in other else {})
            return lambda above, below: layer(same, above) + layer(unbiased, below)

        raised, pull_raised = jax.vjp(contributions(positive, negative), above, below)
        lowered, pull_lowered = jax.vjp(contributions(negative, positive), above, below)
        up = jnp.where(lowered < 0, jnp.where(raised > 0, alpha, 0.0), 1.0).astype(relevance.dtype)
        shares_up = pull_raised(up * _quotient(relevance, raised))
        shares_down = pull_lowered((1 - up) * _quotient(relevance, lowered))
        return above * (shares_up[0] + shares_down[0]) + below * (shares_up[1] + shares_down[1])

    return _propagate(require_classifier(logits, "lrp_alpha_beta"), images, targets, rule)


def _propagate(classifier: Classifier, images: jax.Array, targets: jax.Array, rule: Callable) -> jax.Array:
    """Hands the target logits down by `rule(name, layer, params, activations, relevance)`, layer by layer.

    `layer(params, activations)` is the layer without its activation, which relevance passes unchanged.
    """
    affine = classifier.with_activation(lambda hidden: hidden)
    names = (None, *classifier.model.layers)
    inputs = [images]
    for start, stop in itertools.pairwise(names):
        inputs.append(classifier.model.apply(classifier.variables, inputs[-1], start=start, stop=stop))
    logits = inputs.pop()
    relevance = logits * jax.nn.one_hot(targets, logits.shape[-1], dtype=logits.dtype)
    for start, stop, activations in reversed(list(zip(names[:-1], names[1:], inputs, strict=True))):

        def layer(params, activations, start=start, stop=stop):
            variables = affine.variables | {"params": affine.variables["params"] | {stop: params}}
            return affine.model.apply(variables, activations, start=start, stop=stop)

        params = classifier.variables["params"].get(stop, {})
        relevance = rule(stop, layer, params, activations, relevance)
    return jnp.sum(relevance, axis=-1)


def _share(layer, activations, relevance):
    """Relevance shared out by a layer without parameters: a max pool gives all to the largest."""
    sums, pull = jax.vjp(lambda hidden: layer({}, hidden), activations)
    return activations * pull(_quotient(relevance, sums))[0]


def _quotient(relevance, sums):
    """`relevance / sums`, 0 where the sum is 0."""
    return jnp.where(sums != 0, relevance / jnp.where(sums != 0, sums, 1), 0)
