import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.nn.chain import run_chain
from btjax.saliency.classifier import Classifier, target_scores
from btjax.saliency.gradients import gradient_times_input
from btjax.saliency.relevance import lrp_alpha_beta, lrp_composite, lrp_epsilon
from tests.nn.networks import Normalised

KEY = jax.random.key(6)


def unbiased(classifier):
    variables = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * 0 if path[-1].key == "bias" else leaf, classifier.variables
    )
    return dataclasses.replace(classifier, variables=variables)


def test_relevance_is_conserved_without_biases(small_classifier, small_images, small_targets):
    classifier = unbiased(small_classifier)
    methods = [functools.partial(method, epsilon=1e-9) for method in (lrp_epsilon, lrp_composite)]
    methods += [functools.partial(lrp_alpha_beta, alpha=alpha) for alpha in (1.0, 2.0)]
    for method in map(jax.jit, methods):
        for images in (small_images, small_images - 0.3):
            scores = np.asarray(target_scores(classifier(images), small_targets))
            maps = method(classifier, images, small_targets, KEY)
            np.testing.assert_allclose(maps.sum((1, 2)), scores, rtol=1e-4)


def test_only_as_epsilon_vanishes_is_the_epsilon_rule_gradient_times_input(
    small_classifier, small_images, small_targets
):
    """Ancona et al. 2018: without biases, in a network of ReLU and max pools."""
    arguments = (unbiased(small_classifier), small_images, small_targets, KEY)
    expected = np.asarray(gradient_times_input(*arguments))
    vanishing = lrp_epsilon(*arguments, epsilon=1e-9)
    np.testing.assert_allclose(vanishing, expected, atol=1e-4 * np.abs(expected).max())
    for classifier in (arguments[0], small_classifier):
        other = np.asarray(gradient_times_input(classifier, *arguments[1:]))
        found = np.asarray(lrp_epsilon(classifier, *arguments[1:]))
        for row in range(4):
            assert np.corrcoef(found[row].ravel(), other[row].ravel())[0, 1] < 0.99
            # Nor is it the other map at another scale.
            factor = np.sum(found[row] * other[row]) / np.sum(other[row] ** 2)
            assert np.abs(found[row] - factor * other[row]).max() > 0.1 * np.abs(found[row]).max()


def test_epsilon_is_relative_to_each_images_layers(small_classifier, small_images, small_targets):
    """Without biases all sums grow with the image, and so does its map, which other images leave as it is."""
    factors = np.array([1, 10, 0.01, 3], np.float32)[:, None, None, None]
    arguments = (small_targets, KEY)
    for method in (lrp_epsilon, lrp_composite):
        maps = np.asarray(method(unbiased(small_classifier), small_images, *arguments))
        scaled = np.asarray(method(unbiased(small_classifier), factors * small_images, *arguments))
        np.testing.assert_allclose(scaled / factors[..., 0], maps, atol=1e-4 * np.abs(maps).max())


def test_biases_and_epsilon_take_relevance(small_classifier, small_images, small_targets):
    scores = np.asarray(target_scores(small_classifier(small_images), small_targets))
    maps = lrp_epsilon(small_classifier, small_images, small_targets, KEY, epsilon=1e-9)
    assert np.abs(maps.sum((1, 2)) - scores).min() > 1e-3 * np.abs(scores).max()
    large = lrp_epsilon(unbiased(small_classifier), small_images, small_targets, KEY, epsilon=1e6)
    np.testing.assert_allclose(large, 0, atol=1e-6)


class Dense(nn.Module):
    """One linear layer over flattened pixels."""

    normaliser: type[nn.Module] | None = None
    activation: object = nn.relu
    layers = ("flatten", "logits")

    @nn.compact
    def __call__(self, inputs, *, start=None, stop=None):
        def logits(hidden):
            if self.normaliser is nn.BatchNorm:
                return nn.BatchNorm(use_running_average=True, name="logits")(hidden)
            return (self.normaliser or functools.partial(nn.Dense, 1))(name="logits")(hidden)

        return run_chain([("flatten", lambda x: x.reshape(len(x), -1)), ("logits", logits)], inputs, start, stop)


def test_one_units_relevance_is_shared_as_the_rules_say():
    """Contributions 2, -3 and 5 (of a negative input) with a bias of 1: the logit is 5."""
    variables = {"params": {"logits": {"kernel": jnp.array([[2.0], [-1.0], [-5.0]]), "bias": jnp.ones(1)}}}
    classifier = Classifier(Dense(), variables)
    images = np.array([1, 3, -1], np.float32).reshape(1, 1, 3, 1)
    targets = np.zeros(1, np.int32)
    # The mean magnitude of the layer's one sum is 5, of which a quarter joins the divisor.
    maps = lrp_epsilon(classifier, images, targets, KEY, epsilon=0.25)
    np.testing.assert_allclose(maps[0, 0], np.array([2, -3, 5]) * 5 / 6.25, rtol=1e-5)
    # alpha = 2: 10 over the positive 2, 5 and the bias 1; minus 5 to the negative.
    maps = lrp_alpha_beta(classifier, images, targets, KEY)
    np.testing.assert_allclose(maps[0, 0], [10 * 2 / 8, -5, 10 * 5 / 8], rtol=1e-5)
    maps = lrp_alpha_beta(classifier, images, targets, KEY, alpha=1.0)
    np.testing.assert_allclose(maps[0, 0], [5 * 2 / 8, 0, 5 * 5 / 8], rtol=1e-5)
    # The first layer's flat rule: equal shares.
    maps = lrp_composite(classifier, images, targets, KEY)
    np.testing.assert_allclose(maps[0, 0], [5 / 3, 5 / 3, 5 / 3], rtol=1e-5)


class Convolutions(nn.Module):
    """Two 3x3 convolutions, with or without batch normalisation, and linear logits."""

    normalised: bool = False
    activation: object = nn.relu
    layers = ("first", "second", "flatten", "logits")

    @nn.compact
    def __call__(self, inputs, *, start=None, stop=None):
        def convolution(name):
            if self.normalised:
                return lambda hidden: self.activation(Normalised(3, name=name)(hidden, False, None))
            return lambda hidden: self.activation(nn.Conv(3, (3, 3), use_bias=False, name=name)(hidden))

        chain = [(name, convolution(name)) for name in ("first", "second")]
        chain += [("flatten", lambda x: x.reshape(len(x), -1)), ("logits", nn.Dense(2, name="logits"))]
        return run_chain(chain, inputs, start, stop)


def neighbours(row, column, size=5):
    """The pixels that a 3x3 kernel around one sees, inside the image."""
    return [(y, x) for y in range(row - 1, row + 2) for x in range(column - 1, column + 2) if {y, x} <= {*range(size)}]


def test_the_composite_is_its_three_rules_written_as_loops():
    images = np.random.default_rng(0).random((1, 5, 5, 2)).astype(np.float32)
    classifier = Classifier(Convolutions(), Convolutions().init(jax.random.key(3), images))
    hidden = [np.asarray(classifier.below(name, images))[0].astype(np.float64) for name in classifier.model.layers[:2]]
    kernel, dense = (np.asarray(classifier.variables["params"][name]["kernel"]) for name in ("second", "logits"))
    logits = np.asarray(classifier(images))[0]
    # Epsilon in the dense layer.
    stabilised = logits[1] + np.sign(logits[1]) * 0.1 * np.abs(logits).mean()
    relevance = (hidden[1].ravel() * dense[:, 1] * logits[1] / stabilised).reshape(5, 5, 3)
    # z+ in the second convolution.
    shared = np.zeros((5, 5, 3))
    for row, column, unit in np.ndindex(5, 5, 3):
        terms = {
            (y, x, i): hidden[0][y, x, i] * max(0, kernel[y - row + 1, x - column + 1, i, unit])
            for y, x in neighbours(row, column)
            for i in range(3)
        }
        for place, term in terms.items():
            # A unit without positive contributions is inactive: it has no relevance to share.
            shared[place] += relevance[row, column, unit] * term / (sum(terms.values()) or 1)
    # Flat in the first.
    expected = np.zeros((5, 5))
    for row, column in np.ndindex(5, 5):
        for place in neighbours(row, column):
            expected[place] += shared[row, column].sum() / len(neighbours(row, column))
    found = lrp_composite(classifier, images, np.array([1]), KEY, epsilon=0.1)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_batch_normalisation_beside_a_layer_is_one_layer_for_the_epsilon_rule():
    """Its scale and offset folded into the kernel and a bias give the same map."""
    images, random = np.random.default_rng(0).random((2, 5, 5, 2), np.float32), np.random.default_rng(1)
    model = Convolutions(normalised=True)
    shapes = jax.eval_shape(model.init, KEY, images)
    variables = jax.tree.map(lambda leaf: random.uniform(-0.5, 1, leaf.shape).astype(np.float32), dict(shapes))
    folded = {"logits": variables["params"]["logits"]}
    for name in ("first", "second"):
        statistics, params = variables["batch_stats"][name]["norm"], variables["params"][name]
        statistics["var"] = np.abs(statistics["var"]) + 0.5
        factor = params["norm"]["scale"] / np.sqrt(statistics["var"] + 1e-5)
        bias = params["norm"]["bias"] - statistics["mean"] * factor
        folded[name] = {"kernel": params["conv"]["kernel"] * factor, "bias": bias}

    class Folded(Convolutions):
        @nn.compact
        def __call__(self, inputs, *, start=None, stop=None):
            chain = [
                (name, lambda hidden, name=name: self.activation(nn.Conv(3, (3, 3), name=name)(hidden)))
                for name in ("first", "second")
            ]
            chain += [("flatten", lambda x: x.reshape(len(x), -1)), ("logits", nn.Dense(2, name="logits"))]
            return run_chain(chain, inputs, start, stop)

    arguments = (images, np.array([0, 1]), KEY)
    found = np.asarray(lrp_epsilon(Classifier(model, variables), *arguments))
    expected = lrp_epsilon(Classifier(Folded(), {"params": folded}), *arguments)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(found).max())
    for method in (lrp_alpha_beta, lrp_composite):
        with pytest.raises(
            InputError, match=r"stage 'first' has the variables batch_stats/norm/mean, .*params/conv/ker"
        ):
            method(Classifier(model, variables), *arguments)


def test_what_the_rules_do_not_cover_is_refused():
    images, targets = np.ones((1, 1, 3, 1), np.float32), np.zeros(1, np.int32)
    methods = (lrp_epsilon, lrp_alpha_beta, lrp_composite)
    for normaliser, refusing in ((nn.BatchNorm, methods[1:]), (nn.LayerNorm, methods)):
        model = Dense(normaliser)
        classifier = Classifier(model, model.init(KEY, images))
        for method in refusing:
            with pytest.raises(InputError, match=f"{method.__name__}: stage 'logits' has the variables .*params/scale"):
                method(classifier, images, targets, KEY)
    for method in methods:
        with pytest.raises(TypeError, match=method.__name__):
            method(lambda inputs: inputs, images, targets, KEY)
    for method in (lrp_epsilon, lrp_composite):
        with pytest.raises(ValueError, match="epsilon is -1"):
            method(lambda inputs: inputs, images, targets, KEY, epsilon=-1)
    with pytest.raises(ValueError, match=r"alpha is 0.5, expected at least 1"):
        lrp_alpha_beta(lambda inputs: inputs, images, targets, KEY, alpha=0.5)
