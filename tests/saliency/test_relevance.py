import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.nn.chain import run_chain
from btjax.saliency.classifier import Classifier, target_scores
from btjax.saliency.gradients import gradient_times_input
from btjax.saliency.relevance import lrp_alpha_beta, lrp_epsilon

KEY = jax.random.key(6)


def unbiased(classifier):
    variables = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * 0 if path[-1].key == "bias" else leaf, classifier.variables
    )
    return dataclasses.replace(classifier, variables=variables)


def test_relevance_is_conserved_without_biases(small_classifier, small_images, small_targets):
    classifier = unbiased(small_classifier)
    for images in (small_images, small_images - 0.3):
        scores = np.asarray(target_scores(classifier(images), small_targets))
        maps = lrp_epsilon(classifier, images, small_targets, KEY, epsilon=1e-9)
        np.testing.assert_allclose(maps.sum((1, 2)), scores, rtol=1e-4)
        for alpha in (1.0, 2.0):
            maps = lrp_alpha_beta(classifier, images, small_targets, KEY, alpha=alpha)
            np.testing.assert_allclose(maps.sum((1, 2)), scores, rtol=1e-4)


def test_without_biases_the_epsilon_rule_is_gradient_times_input(small_classifier, small_images, small_targets):
    """Ancona et al. 2018: in a network of ReLU and max pools, as epsilon goes to 0."""
    arguments = (unbiased(small_classifier), small_images, small_targets, KEY)
    expected = np.asarray(gradient_times_input(*arguments))
    found = lrp_epsilon(*arguments, epsilon=1e-9)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_biases_and_epsilon_take_relevance(small_classifier, small_images, small_targets):
    scores = np.asarray(target_scores(small_classifier(small_images), small_targets))
    maps = lrp_epsilon(small_classifier, small_images, small_targets, KEY)
    assert np.abs(maps.sum((1, 2)) - scores).min() > 1e-3 * np.abs(scores).max()
    large = lrp_epsilon(unbiased(small_classifier), small_images, small_targets, KEY, epsilon=1e6)
    np.testing.assert_allclose(large, 0, atol=1e-6)


class Dense(nn.Module):
    """One linear layer over flattened pixels."""

    normalised: bool = False
    activation: object = nn.relu
    layers = ("flatten", "logits")

    @nn.compact
    def __call__(self, inputs, *, start=None, stop=None):
        def logits(hidden):
            hidden = nn.BatchNorm(use_running_average=True, name="logits")(hidden) if self.normalised else hidden
            return hidden if self.normalised else nn.Dense(1, name="logits")(hidden)

        return run_chain([("flatten", lambda x: x.reshape(len(x), -1)), ("logits", logits)], inputs, start, stop)


def test_one_units_relevance_is_shared_as_the_rules_say():
    """Contributions 2, -3 and 5 (of a negative input) with a bias of 1: the logit is 5."""
    variables = {"params": {"logits": {"kernel": jnp.array([[2.0], [-1.0], [-5.0]]), "bias": jnp.ones(1)}}}
    classifier = Classifier(Dense(), variables)
    images = np.array([1, 3, -1], np.float32).reshape(1, 1, 3, 1)
    targets = np.zeros(1, np.int32)
    maps = lrp_epsilon(classifier, images, targets, KEY, epsilon=0.25)
    np.testing.assert_allclose(maps[0, 0], np.array([2, -3, 5]) * 5 / 5.25, rtol=1e-5)
    # alpha = 2: 10 over the positive 2, 5 and the bias 1; minus 5 to the negative.
    maps = lrp_alpha_beta(classifier, images, targets, KEY)
    np.testing.assert_allclose(maps[0, 0], [10 * 2 / 8, -5, 10 * 5 / 8], rtol=1e-5)
    maps = lrp_alpha_beta(classifier, images, targets, KEY, alpha=1.0)
    np.testing.assert_allclose(maps[0, 0], [5 * 2 / 8, 0, 5 * 5 / 8], rtol=1e-5)


def test_what_the_rules_do_not_cover_is_refused():
    model = Dense(normalised=True)
    images, targets = np.ones((1, 1, 3, 1), np.float32), np.zeros(1, np.int32)
    classifier = Classifier(model, model.init(KEY, images))
    with pytest.raises(InputError, match="layer 'logits' has the parameters"):
        lrp_alpha_beta(classifier, images, targets, KEY)
    for method in (lrp_epsilon, lrp_alpha_beta):
        with pytest.raises(TypeError, match=method.__name__):
            method(lambda inputs: inputs, images, targets, KEY)
