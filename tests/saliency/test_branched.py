"""Every kind of method on networks that are no chains of layers."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.saliency import gradients
from btjax.saliency.classifier import Classifier, stage_map, target_scores
from btjax.saliency.maps import attribution_maps
from btjax.saliency.methods import METHODS
from btjax.saliency.sanity import cascading_randomisation

KEY = jax.random.key(9)
FORMS = {"Residual": ("block", ["stem", "block", "logits"]), "Inception": ("branches", ["branches", "logits"])}


@pytest.fixture
def form(branched):
    """The stage before the global average; the stages with variables."""
    return FORMS[type(branched.model).__name__]


def test_the_network_cut_at_any_stage_gives_the_same_logits(branched, small_images):
    logits = branched(small_images)
    for stage in branched.model.layers:
        output = branched.below(stage, small_images)
        np.testing.assert_allclose(branched.above(stage, output), logits, rtol=1e-5, atol=1e-6)
        assert branched.shape_of(stage, small_images) == stage_map(output).shape


def test_the_gradient_equals_central_differences_in_double_precision(branched, small_images, small_targets):
    with jax.enable_x64(True):
        exact = dataclasses.replace(branched, variables=jax.tree.map(np.float64, branched.variables))
        images = small_images.astype(np.float64)
        direction = np.random.default_rng(0).standard_normal(images.shape)
        found = gradients.input_gradient(exact, images, small_targets)
        ends = [target_scores(exact(images + step * direction), small_targets) for step in (1e-7, -1e-7)]
        expected = (ends[0] - ends[1]) / 2e-7
        np.testing.assert_allclose(np.sum(found * direction, axis=(1, 2, 3)), expected, rtol=1e-4)
    maps = attribution_maps(branched, small_images, small_targets, KEY, METHODS["gradient"])
    np.testing.assert_allclose(maps, np.linalg.norm(found, axis=-1), rtol=1e-3, atol=1e-5 * maps.max())


def test_grad_cam_before_the_global_average_is_the_class_activation_map(branched, form, small_images, small_targets):
    activations = np.asarray(stage_map(branched.below(form[0], small_images)))
    kernel = np.asarray(branched.variables["params"]["logits"]["kernel"])[: activations.shape[-1]]
    signed = np.einsum("bhwk,kb->bhw", activations, kernel[:, small_targets]) / 16**2
    assert signed.min() < 0 < signed.max()
    maps = attribution_maps(branched, small_images, small_targets, KEY, METHODS["grad_cam"])
    np.testing.assert_allclose(maps, np.maximum(signed, 0), atol=1e-5 * signed.max())
    maps = attribution_maps(branched, small_images, small_targets, KEY, METHODS["hires_cam"])
    np.testing.assert_allclose(maps, signed, atol=1e-5 * signed.max())


def test_integrated_gradients_and_occlusion_add_up_to_the_change_from_the_baseline(
    branched, small_images, small_targets
):
    baselines = np.random.default_rng(1).random((4, 1, 1, 2), np.float32)
    start = np.broadcast_to(baselines, small_images.shape)
    change = np.asarray(target_scores(branched(small_images) - branched(start), small_targets))
    arguments = (branched, small_images, small_targets, KEY)
    method = METHODS["integrated_gradients"].bind(steps=128)
    maps = attribution_maps(*arguments, method, baselines=baselines)
    np.testing.assert_allclose(maps.sum((1, 2)), change, atol=0.01 * np.abs(change).max())
    maps = attribution_maps(*arguments, METHODS["occlusion"].bind(window=16, stride=16), baselines=baselines)
    np.testing.assert_allclose(maps, np.broadcast_to(change[:, None, None], maps.shape), rtol=1e-4, atol=1e-5)


def test_guided_backpropagation_reaches_every_rectifier_inside_the_stages(branched, small_images, small_targets):
    traced = []

    def counted(hidden):
        traced.append(hidden.shape)
        return nn.relu(hidden)

    branched.with_activation(counted)(small_images)
    assert len(traced) == {"Residual": 3, "Inception": 1}[type(branched.model).__name__]
    guided = branched.model.clone(activation=gradients.guided_relu)
    pull = jax.vjp(lambda images: guided.apply(branched.variables, images), small_images)[1]
    expected = pull(jax.nn.one_hot(small_targets, 3))[0].sum(-1)
    maps = attribution_maps(branched, small_images, small_targets, KEY, METHODS["guided_backprop"])
    np.testing.assert_allclose(maps, expected, atol=1e-5 * np.abs(expected).max())
    plain = gradients.input_gradient(branched, small_images, small_targets).sum(-1)
    assert np.abs(plain - maps).max() > 0.01 * np.abs(maps).max()


def test_the_cascade_randomises_a_stage_in_every_collection(branched, form, small_images):
    variables = branched.variables
    cascade = list(cascading_randomisation(branched.model, variables, small_images[:1], KEY))
    assert [stage for stage, _ in cascade] == form[1][::-1]
    assert ("batch_stats" in variables) == (type(branched.model).__name__ == "Residual")
    for number, (_, changed) in enumerate(cascade, start=1):
        assert jax.tree.structure(changed) == jax.tree.structure(variables)
        for collection, stages in changed.items():
            for stage, leaves in stages.items():
                kept = [
                    np.array_equal(found, held)
                    for found, held in zip(*map(jax.tree.leaves, (leaves, variables[collection][stage])), strict=True)
                ]
                assert not any(kept) if stage in form[1][::-1][:number] else all(kept), (collection, stage)


@pytest.mark.parametrize("name", ["lrp_epsilon", "lrp_alpha_beta", "lrp_composite"])
def test_relevance_propagation_refuses_a_branched_stage_by_name(name, branched, form, small_images, small_targets):
    undeclared = type("Undeclared", (type(branched.model),), {"composite": (), "__annotations__": {}})()
    for model in (branched.model, undeclared):
        # Only the epsilon rule takes the normalised convolution of the stem.
        stage = "stem" if form[0] == "block" and name != "lrp_epsilon" else form[0]
        with pytest.raises(InputError, match=f"{name}: stage '{stage}' .*, expected one convolution or dense layer"):
            attribution_maps(Classifier(model, branched.variables), small_images, small_targets, KEY, METHODS[name])
