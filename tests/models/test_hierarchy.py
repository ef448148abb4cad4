"""Two classifiers, one after the other: what each says, what they learn together, and what they need."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import btjax
from btjax.base.errors import InputError
from btjax.models.hierarchy import Hierarchy, network
from btjax.nn.network import check_network
from tests.readers import forms

TINY = Hierarchy(widths=(2, 3), pools=2, dense=4, dropout=0.0, l2=0.01)
LABELS = jnp.array([0, 3, 2, 3, 1])


@pytest.fixture(scope="module")
def drawn():
    inputs = jax.random.normal(jax.random.key(0), (5, 16, 16, 1))
    return inputs, jax.jit(TINY.init)(jax.random.key(1), inputs)


def test_it_keeps_the_protocol():
    check_network(TINY, 16, 1)


def test_its_answers_are_the_products_of_both_networks(drawn):
    inputs, variables = drawn
    found = jax.nn.softmax(network(TINY, 2).apply({"params": variables["params"]["detect"]}, inputs))
    told = jax.nn.softmax(network(TINY, 3).apply({"params": variables["params"]["tell"]}, inputs))
    expected = np.concatenate([np.asarray(found[:, :1] * told), np.asarray(found[:, 1:])], axis=1)
    np.testing.assert_allclose(np.exp(TINY.apply(variables, inputs)), expected, rtol=1e-5)


def test_both_learn_together_what_each_learns_alone(drawn):
    inputs, variables = drawn
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels

    def together(params):
        return cross_entropy(TINY.apply({"params": params}, inputs), LABELS).sum()

    def alone(params):
        found = network(TINY, 2).apply({"params": params["detect"]}, inputs)
        told = network(TINY, 3).apply({"params": params["tell"]}, inputs)
        second = cross_entropy(told, jnp.minimum(LABELS, 2)) * (LABELS < 3).astype(jnp.float32)
        return cross_entropy(found, (LABELS == 3).astype(jnp.int32)).sum() + second.sum()

    gradients = [jax.jit(jax.grad(loss))(variables["params"]) for loss in (together, alone)]
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-5), *gradients)


def test_its_penalty_is_that_of_both_networks(drawn):
    _, variables = drawn
    params = variables["params"]
    squares = sum(float(np.square(params[name]["dense"]["kernel"]).sum()) for name in ("detect", "tell"))
    np.testing.assert_allclose(TINY.penalty(params), 0.01 * squares, rtol=1e-6)


def test_fewer_than_three_classes_are_refused():
    with pytest.raises(InputError, match="found 2 classes, expected two tumours and a last class without one, or more"):
        TINY.clone(classes=2).check(16)


@pytest.mark.usefixtures("standard_promotion")
def test_a_data_set_without_a_class_without_tumours_is_refused(tmp_path):
    forms.write_classes(tmp_path / "data", forms.make_slices(30))
    config = btjax.preset("hdl2bt_cpu").replace("data.data_dir", str(tmp_path / "data")).replace("data.image_size", 64)
    with pytest.raises(
        InputError, match="its classes are meningioma, glioma, pituitary; HDL2BT expects no_tumor as well"
    ):
        btjax.train(config, tmp_path / "run", cache_dir=tmp_path / "cache")
