"""The cascade destroys exactly what it says, and similarities have their known values."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from btjax.models.cnn import CNN
from btjax.nn.chain import run_chain
from btjax.saliency import sanity


@pytest.fixture(scope="module")
def trained():
    """A small network whose every value differs from what any initialiser gives: ones and twos."""
    model = CNN(widths=(2, 3), pools=2, dense=4)
    inputs = jnp.zeros((1, 8, 8, 1))
    variables = jax.jit(model.init)(jax.random.key(0), inputs)
    return model, jax.tree.map(lambda leaf: jnp.full_like(leaf, 7.0), variables), inputs


def test_the_cascade_goes_from_the_logits_down_and_keeps_what_lies_below(trained):
    model, variables, inputs = trained
    stages = list(sanity.cascading_randomisation(model, variables, inputs, jax.random.key(1)))
    assert [name for name, _ in stages] == ["logits", "dense", "conv_2", "conv_1"]
    for number, (_, stage) in enumerate(stages, start=1):
        changed = {name for name, layer in stage["params"].items() if (layer["kernel"] != 7).all()}
        assert changed == {"logits", "dense", "conv_2", "conv_1"} & {name for name, _ in stages[:number]}
        assert jax.tree.structure(stage) == jax.tree.structure(dict(variables))
    assert all((leaf == 7).all() for leaf in jax.tree.leaves(variables))


def test_new_values_are_the_initialisers_and_stay_through_the_cascade(trained):
    model, variables, inputs = trained
    stages = dict(sanity.cascading_randomisation(model, variables, inputs, jax.random.key(1)))
    np.testing.assert_array_equal(
        stages["logits"]["params"]["logits"]["kernel"], stages["conv_1"]["params"]["logits"]["kernel"]
    )
    jax.tree.map(np.testing.assert_array_equal, stages["conv_1"], dict(jax.jit(model.init)(jax.random.key(1), inputs)))
    other = dict(sanity.cascading_randomisation(model, variables, inputs, jax.random.key(2)))
    assert (stages["conv_1"]["params"]["dense"]["kernel"] != other["conv_1"]["params"]["dense"]["kernel"]).any()


class Normalised(nn.Module):
    """A chain with batch statistics."""

    layers = ("norm", "logits")

    @nn.compact
    def __call__(self, inputs, start=None, stop=None):
        chain = [("norm", nn.BatchNorm(use_running_average=True, name="norm")), ("logits", nn.Dense(2, name="logits"))]
        return run_chain(chain, inputs, start, stop)


def test_batch_statistics_start_anew_with_their_layer():
    model, inputs = Normalised(), jnp.ones((1, 3))
    variables = jax.tree.map(lambda leaf: jnp.full_like(leaf, 7.0), model.init(jax.random.key(0), inputs))
    stages = dict(sanity.cascading_randomisation(model, variables, inputs, jax.random.key(1)))
    assert (stages["logits"]["batch_stats"]["norm"]["mean"] == 7).all()
    assert (stages["norm"]["batch_stats"]["norm"]["mean"] == 0).all()


def test_variables_that_no_layer_owns_are_refused(trained):
    model, variables, inputs = trained
    params = {**variables["params"], "extra": {"kernel": jnp.ones(2)}}
    with pytest.raises(ValueError, match="no stage: extra"):
        next(sanity.cascading_randomisation(model, {"params": params}, inputs, jax.random.key(0)))
    with pytest.raises(ValueError, match="shapes"):
        next(sanity.cascading_randomisation(model, variables, jnp.zeros((1, 16, 16, 1)), jax.random.key(0)))


@pytest.fixture
def maps():
    random = np.random.default_rng(0)
    return np.round(random.normal(size=(3, 24, 24)), 1).astype(np.float32)


def test_a_map_is_like_itself_at_any_scale_and_unlike_its_negative(maps):
    same = sanity.similarity_to(maps)(5 * maps)
    for name, values in same.items():
        assert values.dtype == np.float64
        np.testing.assert_allclose(values, 1.0, rtol=1e-6, err_msg=name)
    negative = sanity.similarity_to(maps)(-maps)
    np.testing.assert_allclose(negative["spearman"], -1.0)
    np.testing.assert_allclose(negative["spearman_absolute"], 1.0)
    assert (negative["ssim"] < -0.8).all()


def test_spearman_equals_scipy_and_is_blind_to_increasing_functions(maps):
    other = np.roll(maps, 1, axis=0) + maps
    found = sanity.spearman(maps, other)
    np.testing.assert_allclose(found, [spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(maps, other, strict=True)])
    np.testing.assert_allclose(sanity.spearman(np.exp(maps), other), found)


def test_independent_maps_are_unlike(maps):
    similarity = sanity.similarity_to(maps)(np.random.default_rng(1).normal(size=maps.shape))
    assert all((np.abs(values) < 0.15).all() for values in similarity.values())


def test_constant_maps_have_no_order_and_no_gaps(maps):
    similarity = sanity.similarity_to(maps)(np.zeros_like(maps))
    assert (similarity["spearman"] == 0).all() and (similarity["spearman_absolute"] == 0).all()
    assert np.isfinite(similarity["ssim"]).all() and (similarity["ssim"] < 0.1).all()
    assert (sanity.ssim(np.zeros_like(maps), np.zeros_like(maps)) == 1).all()


def test_similarity_to_the_same_maps_does_not_depend_on_what_was_compared_before(maps):
    compare, others = sanity.similarity_to(maps), (np.roll(maps, 1, axis=0), np.abs(maps), maps.astype(np.float64) ** 3)
    for other in (*others, *others):
        found = compare(other)
        np.testing.assert_allclose(found["spearman"], sanity.spearman(maps, other), atol=1e-12)
        np.testing.assert_allclose(found["spearman_absolute"], sanity.spearman(np.abs(maps), np.abs(other)), atol=1e-12)
        np.testing.assert_array_equal(found["ssim"], sanity.ssim(maps, other))


def test_maps_that_do_not_pair_are_refused(maps):
    with pytest.raises(ValueError, match=r"\[N, S, S\]"):
        sanity.similarity_to(maps)(maps[:2])
    with pytest.raises(ValueError, match=r"\[N, S, S\]"):
        sanity.spearman(maps, maps[:2])
    with pytest.raises(ValueError, match="finite"):
        sanity.ssim(maps, np.full_like(maps, np.inf))
