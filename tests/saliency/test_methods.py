import dataclasses
import functools
from inspect import signature

import chex
import jax
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.saliency import gradients
from btjax.saliency.maps import attribution_maps, joint_maps
from btjax.saliency.methods import METHODS, Joint, Method, find_methods, jointly

KEY = jax.random.key(7)


def quick(name, images):
    """The method, with few samples, and baselines where it asks for them."""
    method = METHODS[name]
    few = {"samples": 4} if name in ("smooth_grad", "smooth_grad_squared", "var_grad", "rise") else {}
    few |= {"baselines": images[:2], "samples": 4} if name == "expected_gradients" else {}
    return method.bind(**few) if few else method


@pytest.mark.parametrize("name", [name for name in METHODS if name != "outline"])
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


def test_maps_are_float32_whatever_the_images_are(small_classifier, small_images, small_targets):
    images = small_images[:2].astype(np.float16)
    maps = attribution_maps(small_classifier, images, small_targets[:2], KEY, METHODS["gradient"])
    assert maps.dtype == np.float32


def test_maps_of_one_family_are_the_same_together_and_alone(small_classifier, small_images, small_targets):
    names = ("smooth_grad", "smooth_grad_squared", "var_grad")
    (joint,) = jointly(quick(name, small_images) for name in names)
    arguments = (small_classifier, small_images, small_targets, KEY)
    together = joint_maps(*arguments, joint, batch_size=2)
    assert tuple(together) == joint.names == names
    for name, maps in together.items():
        alone = attribution_maps(*arguments, quick(name, small_images), batch_size=2)
        np.testing.assert_allclose(maps, alone, rtol=1e-4, atol=1e-6 * alone.max(), err_msg=name)
    spread = together["smooth_grad_squared"] - together["smooth_grad"] ** 2
    np.testing.assert_allclose(spread, together["var_grad"], rtol=1e-3, atol=1e-5 * together["var_grad"].max())


def test_only_methods_of_one_family_with_the_same_options_are_put_together(small_images):
    several = METHODS["var_grad"].bind(samples=4)
    names = [one.names for one in jointly([METHODS["gradient"], METHODS["smooth_grad"], several, METHODS["var_grad"]])]
    assert names == [("gradient",), ("smooth_grad", "var_grad"), ("var_grad",)]
    assert [one.name for one in jointly([several, METHODS["rise"]])] == ["noisy_gradients", "rise"]
    arrays = [METHODS[name].bind(noise=np.float32([0.1])) for name in ("smooth_grad", "var_grad")]
    assert [one.names for one in jointly(arrays)] == [("smooth_grad",), ("var_grad",)]
    for pair in ((METHODS["smooth_grad"], several), (METHODS["gradient"], METHODS["rise"]), tuple(arrays)):
        with pytest.raises(ValueError, match="not of one family"):
            _ = Joint(pair).attribute


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
    arguments = (small_images, small_targets, KEY, method)
    maps = attribution_maps(small_classifier, *arguments, batch_size=2)
    other = dataclasses.replace(
        small_classifier, variables=jax.tree.map(lambda leaf: 2 * leaf, small_classifier.variables)
    )
    assert not np.allclose(attribution_maps(other, *arguments, batch_size=2), maps)
    attribution_maps(small_classifier, small_images[:3], small_targets[:3], KEY, method, batch_size=2)
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


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        (np.ones((4, 6, 6, 1), np.float32), [0, 1], r"expected images .* found \(4, 6, 6, 1\) and \(2,\)"),
        (np.ones((0, 6, 6, 1), np.float32), [], "expected images"),
        (np.ones((1, 6, 5, 1), np.float32), [0], r"expected images \[N, S, S, C\]"),
        (np.ones((1, 6, 6), np.float32), [0], "expected images"),
        (np.ones((1, 6, 6, 1), np.uint8), [0], "images are uint8, expected floating"),
        (np.full((2, 6, 6, 1), [[[[1]]], [[[np.nan]]]], np.float32), [0, 0], "found 1 of 2 .* first row 1"),
        (np.full((1, 6, 6, 1), -np.inf, np.float32), [0], "images must be finite"),
        (np.ones((1, 6, 6, 1), np.float32), [1.9], "targets are float64, expected integers"),
        (np.ones((1, 6, 6, 1), np.float32), [-1], "targets from -1"),
        (np.ones((2, 6, 6, 1), np.float32), [0, 2], "targets from 0 to 2, expected 0 to 1"),
        (np.ones((1, 6, 6, 1), np.float32), [2**32], "targets from 4294967296"),
    ],
)
def test_images_and_targets_that_do_not_fit_are_refused(images, targets, message):
    with pytest.raises(ValueError, match=message):
        attribution_maps(lambda inputs: inputs[:, 0, :2, 0], images, targets, KEY, METHODS["gradient"])


@pytest.mark.parametrize("batch_size", [0, -5])
def test_a_batch_has_at_least_one_image(batch_size, small_classifier, small_images, small_targets):
    arguments = (small_classifier, small_images, small_targets, KEY, METHODS["gradient"])
    with pytest.raises(ValueError, match=f"batch_size is {batch_size}, expected a whole number of at least 1"):
        attribution_maps(*arguments, batch_size=batch_size)


def test_the_methods_that_take_a_baseline_are_those_with_the_option():
    with_option = {name for name, method in METHODS.items() if "baseline" in signature(method.attribute).parameters}
    assert {name for name, method in METHODS.items() if method.takes_baseline} == with_option
    assert with_option == {"integrated_gradients", "occlusion", "rise", "score_cam"}


@pytest.mark.parametrize("name", ["integrated_gradients", "occlusion", "rise", "score_cam"])
def test_each_image_is_compared_with_its_own_baseline(name, small_classifier, small_images, small_targets):
    method = METHODS[name].bind(samples=4) if name == "rise" else METHODS[name]
    baselines = np.random.default_rng(3).random((4, 1, 1, 2), np.float32)
    arguments = (small_classifier, small_images, small_targets, KEY)
    maps = attribution_maps(*arguments, method, batch_size=3, baselines=baselines)
    scale = np.abs(maps).max()
    bound = attribution_maps(*arguments, method.bind(baseline=baselines[3, 0, 0]), batch_size=3)
    np.testing.assert_allclose(maps[3], bound[3], atol=1e-5 * scale)
    for row in range(4):
        alone = attribution_maps(*arguments, method, batch_size=3, baselines=baselines[row : row + 1])
        np.testing.assert_allclose(maps[row], alone[row], atol=1e-5 * scale)
        assert np.abs(np.delete(maps, row, 0) - np.delete(alone, row, 0)).max() > 1e-3 * scale


def test_baselines_broadcast_and_are_no_reason_to_compile_again(small_classifier, small_images, small_targets):
    traces = []

    def attribute(logits, images, targets, key, *, baseline):
        traces.append(baseline.shape)
        return gradients.integrated_gradients(logits, images, targets, key, steps=4, baseline=baseline)

    method = Method("counted", attribute, "integrated gradients that count their traces", "", takes_baseline=True)
    arguments = (small_classifier, small_images, small_targets, KEY, method)
    one = attribution_maps(*arguments, batch_size=2, baselines=np.full((1, 1, 1, 2), 0.5, np.float32))
    several = attribution_maps(*arguments, batch_size=2, baselines=np.full((4, 1, 1, 2), 0.5, np.float32))
    assert traces == [(2, 1, 1, 2)]
    np.testing.assert_array_equal(several, one)
    whole = attribution_maps(*arguments, batch_size=2, baselines=np.full((4, 16, 16, 2), 0.5, np.float32))
    np.testing.assert_allclose(whole, one, atol=1e-6)


@pytest.mark.parametrize(
    ("baselines", "message"),
    [
        (np.zeros((3, 1, 1, 2)), r"baselines are \(3, 1, 1, 2\), expected \[N or 1"),
        (np.zeros((4, 1, 1, 3)), "baselines are"),
        (np.zeros(2), r"baselines are \(2,\)"),
        (np.full((1, 1, 1, 2), np.nan), "baselines must be finite"),
    ],
)
def test_baselines_that_do_not_fit_are_refused(baselines, message, small_classifier, small_images, small_targets):
    arguments = (small_classifier, small_images, small_targets, KEY)
    with pytest.raises(ValueError, match=message):
        attribution_maps(*arguments, METHODS["occlusion"], baselines=baselines)
    with pytest.raises(ValueError, match="gradient takes no baseline"):
        attribution_maps(*arguments, METHODS["gradient"], baselines=np.zeros((1, 1, 1, 2)))
