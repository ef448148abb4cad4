import dataclasses
import functools

import chex
import jax
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.saliency import gradients
from btjax.saliency.methods import METHODS, Method, attribution_maps, find_methods

KEY = jax.random.key(7)


def quick(name, images):
    """The method, with few samples, and baselines where it asks for them."""
    method = METHODS[name]
    few = {"samples": 4} if name in ("smooth_grad", "smooth_grad_squared", "var_grad", "rise") else {}
    few |= {"baselines": images[:2], "samples": 4} if name == "expected_gradients" else {}
    return method.bind(**few) if few else method


@pytest.mark.parametrize("name", METHODS)
def test_maps_are_one_for_each_image_and_signed_as_stated(name, small_classifier, small_images, small_targets):
    method = quick(name, small_images)
    maps = attribution_maps(small_classifier, small_images[:3], small_targets[:3], KEY, method, batch_size=3)
    chex.assert_shape(maps, (3, 16, 16))
    chex.assert_type(maps, np.float32)
    chex.assert_tree_all_finite(maps)
    assert np.abs(maps).max((1, 2)).min() > 0
    assert (maps.min() < 0) == method.signed


def test_a_map_does_not_depend_on_the_batch(small_classifier, small_images, small_targets):
    method = quick("smooth_grad", small_images)
    arguments = (small_classifier, small_images, small_targets, KEY, method)
    maps = attribution_maps(*arguments, batch_size=3)
    np.testing.assert_allclose(attribution_maps(*arguments, batch_size=1), maps, atol=1e-5 * maps.max())
    assert not np.allclose(attribution_maps(*arguments[:3], jax.random.key(8), method, batch_size=3), maps)


@pytest.mark.parametrize("name", ["integrated_gradients", "grad_cam", "lrp_epsilon"])
def test_a_method_maps_over_images_by_vmap(name, small_classifier, small_images, small_targets):
    method = METHODS[name]

    def one(image, target):
        return method(small_classifier, image[None], target[None], KEY)[0]

    together = attribution_maps(small_classifier, small_images, small_targets, KEY, method)
    one_by_one = jax.jit(jax.vmap(one))(small_images, small_targets)
    np.testing.assert_allclose(one_by_one, together, atol=1e-5 * np.abs(together).max())


def test_a_method_is_compiled_once_for_all_batches_calls_and_weights(small_classifier, small_images, small_targets):
    traces = []

    def attribute(logits, images, targets, key):
        traces.append(images.shape)
        return gradients.gradient(logits, images, targets, key)

    method = Method("counted", attribute, "a gradient that counts its traces", "")
    arguments = (small_images, small_targets, KEY, method, 2)
    maps = attribution_maps(small_classifier, *arguments)
    other = dataclasses.replace(
        small_classifier, variables=jax.tree.map(lambda leaf: 2 * leaf, small_classifier.variables)
    )
    assert not np.allclose(attribution_maps(other, *arguments), maps)
    attribution_maps(small_classifier, small_images[:3], small_targets[:3], KEY, method, 2)
    assert traces == [(2, 16, 16, 2)]


def test_a_plain_function_does_for_methods_that_need_no_more(small_classifier, small_images, small_targets):
    arguments = (small_images, small_targets, KEY)
    function = functools.partial(small_classifier.model.apply, small_classifier.variables)
    found = attribution_maps(function, *arguments, METHODS["gradient"])
    expected = attribution_maps(small_classifier, *arguments, METHODS["gradient"])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    for method in METHODS.values():
        if method.needs_classifier:
            with pytest.raises(TypeError, match=f"{method.name} needs a Classifier"):
                method(function, *arguments)


def test_options_are_bound_and_missing_ones_named(small_classifier, small_images, small_targets):
    arguments = (small_classifier, small_images, small_targets, KEY)
    with pytest.raises(InputError, match="expected_gradients: found no baselines"):
        attribution_maps(*arguments, METHODS["expected_gradients"])
    method = METHODS["grad_cam"].bind(layer="conv_1")
    assert (method.name, method.needs_classifier, METHODS["grad_cam"].attribute.__name__) == (
        "grad_cam",
        True,
        "grad_cam",
    )
    with pytest.raises(InputError, match="'conv_7': expected one of conv_1"):
        attribution_maps(*arguments, method.bind(layer="conv_7"))


def test_methods_are_found_by_name():
    assert [method.name for method in find_methods(["rise", "gradient", "rise"])] == ["rise", "gradient"]
    assert find_methods(["all"]) == list(METHODS.values())
    assert all(name == method.name for name, method in METHODS.items())
    with pytest.raises(InputError, match=r"'gradcam': expected all, or some of gradient, .*grad_cam"):
        find_methods(["gradient", "gradcam"])


def test_images_and_targets_that_do_not_fit_are_refused(small_classifier, small_images, small_targets):
    for images, targets in [(small_images, small_targets[:2]), (small_images[:0], small_targets[:0])]:
        with pytest.raises(ValueError, match="expected images"):
            attribution_maps(small_classifier, images, targets, KEY, METHODS["gradient"])
    with pytest.raises(ValueError, match="targets from 1 to 3, expected 0 to 2"):
        attribution_maps(small_classifier, small_images, small_targets + 1, KEY, METHODS["gradient"])
