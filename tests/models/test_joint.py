"""The network that outlines the tumour and classifies by what it outlines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.models.cnn import CNN
from btjax.models.joint import LEAST, JointNetwork, attended
from btjax.models.segmenter import Segmenter
from btjax.nn.network import check_network
from btjax.saliency.activations import outline
from btjax.saliency.classifier import Classifier

TINY = JointNetwork(width=2, halvings=2, convolutions=1, features=4)


@pytest.mark.parametrize(
    "model",
    [
        JointNetwork(width=2, halvings=3, convolutions=2, features=4, dropout=0.5),
        JointNetwork(width=2, halvings=1, features=4, dtype="bfloat16"),
    ],
    ids=["three halvings", "one halving, bfloat16"],
)
def test_it_keeps_the_protocol(model):
    check_network(model, 16, 1)


def test_its_pixels_are_those_of_a_segmenter_with_the_same_parameters():
    inputs = jax.random.uniform(jax.random.key(0), (2, 16, 16, 1))
    variables = TINY.init(jax.random.key(1), inputs)
    names = {name: "logits" if name == "pixels" else name for name in (*TINY.levels, "pixels")}
    same = {
        collection: {names[name]: tree[name] for name in names if name in tree}
        for collection, tree in variables.items()
    }
    expected = Segmenter(width=2, halvings=2, convolutions=1).apply(same, inputs)
    np.testing.assert_array_equal(TINY.apply(variables, inputs, stop="pixels")[0], expected)


def test_places_share_a_weight_of_one_by_their_probability_of_tumour():
    random = np.random.default_rng(0)
    logits, images, smallest = (jnp.asarray(random.normal(size=shape), jnp.float32) for shape in
                                ((2, 4, 4, 3), (2, 4, 4, 5), (2, 2, 2, 6)))  # fmt: skip
    found = np.asarray(attended(logits, images, smallest), np.float64)
    exponents = np.exp(np.asarray(logits, np.float64))
    weights = 1 - exponents[..., 0] / exponents.sum(axis=-1) + LEAST
    weights /= weights.sum(axis=(1, 2), keepdims=True)
    for row in range(2):
        for place in np.ndindex(2, 2):
            part = (row, slice(2 * place[0], 2 * place[0] + 2), slice(2 * place[1], 2 * place[1] + 2))
            shares = exponents[..., 1:] / exponents[..., 1:].sum(axis=-1, keepdims=True)
            expected = [
                smallest[(row, *place)] * weights[part].sum(),
                (np.asarray(images)[part] * weights[part][..., None]).sum(axis=(0, 1)),
                (shares[part] * weights[part][..., None]).sum(axis=(0, 1)),
            ]
            np.testing.assert_allclose(found[(row, *place)], np.concatenate(expected), rtol=1e-4, atol=1e-6)


def test_where_no_pixel_is_taken_for_tumour_every_place_weighs_the_same():
    blank = jnp.full((1, 4, 4, 3), -40.0).at[..., 0].set(40.0)
    found = attended(blank, jnp.zeros((1, 4, 4, 1)), jnp.ones((1, 2, 2, 1)))
    np.testing.assert_allclose(found[..., 0], 0.25, rtol=1e-4)


def test_its_own_map_is_the_probability_of_the_class_at_each_pixel():
    inputs = jax.random.uniform(jax.random.key(0), (2, 16, 16, 1))
    classifier = Classifier(TINY, TINY.init(jax.random.key(1), inputs))
    maps = outline(classifier, inputs, jnp.array([0, 2]), jax.random.key(0))
    assert maps.shape == (2, 16, 16)
    shares = jax.nn.softmax(TINY.apply(classifier.variables, inputs, stop="pixels")[0])
    np.testing.assert_allclose(maps[1], jax.image.resize(shares[1, ..., 3], (16, 16), "bilinear"), rtol=1e-6)


def test_other_networks_have_no_map_of_their_own():
    model, inputs = CNN(widths=(2,), pools=1, dense=4), jnp.zeros((1, 8, 8, 1))
    with pytest.raises(InputError, match="CNN: has no stage 'pixels'"):
        outline(Classifier(model, model.init(jax.random.key(0), inputs)), inputs, jnp.array([0]), jax.random.key(0))
