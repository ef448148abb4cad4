"""Faithfulness measures on functions whose answer can be worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.saliency import faithfulness
from btjax.saliency.classifier import target_scores

KEY = jax.random.key(0)
SIDE = 6


@pytest.fixture
def linear():
    """Logits weights[c] . x + c, positive weights, for 6x6 images of two channels; three images."""
    random = np.random.default_rng(0)
    weights = random.uniform(0.1, 1, (2, SIDE, SIDE, 2)).astype(np.float32)
    images = random.uniform(0.1, 1, (3, SIDE, SIDE, 2)).astype(np.float32)

    def logits(inputs):
        return jnp.einsum("bhwc,khwc->bk", inputs, weights) + jnp.arange(2.0)[None]

    return logits, weights, images, np.array([0, 1, 1])


def gradient_times_input(logits, images, targets, key):
    gradients = jax.grad(lambda inputs: target_scores(logits(inputs), targets).sum())(images)
    return (gradients * images).sum(axis=-1)


def test_curves_of_a_linear_function_add_and_take_the_largest_terms_first(linear):
    logits, weights, images, targets = linear
    terms = (weights[targets] * images).sum(axis=-1)
    settings = {"output": target_scores, "steps": 9, "baseline": 0.0, "batch_size": 2}
    shares, curves = faithfulness.deletion_curve(logits, images, targets, terms, KEY, **settings)
    _, inserted = faithfulness.insertion_curve(logits, images, targets, terms, KEY, **settings)
    np.testing.assert_allclose(shares, np.arange(10) / 9)
    ordered = -np.sort(-terms.reshape(3, -1).astype(np.float64), axis=1)
    gained = np.concatenate([np.zeros((3, 1)), np.cumsum(ordered, axis=1)[:, 3::4]], axis=1) + targets[:, None]
    np.testing.assert_allclose(inserted, gained, rtol=1e-5)
    np.testing.assert_allclose(curves, gained[:, -1:] - gained + targets[:, None], rtol=1e-5)
    area = faithfulness.deletion(logits, images, targets, terms, KEY, **settings)
    np.testing.assert_allclose(area, (curves[:, :-1] + curves[:, 1:]).mean(axis=1) / 2, rtol=1e-6)


def test_the_true_order_beats_the_reverse_order(linear):
    logits, weights, images, targets = linear
    terms = (weights[targets] * images).sum(axis=-1)
    settings = {"output": target_scores, "steps": 12}
    for measure in (faithfulness.deletion, faithfulness.insertion):
        true = measure(logits, images, targets, terms, KEY, **settings, baseline=0.0)
        reverse = measure(logits, images, targets, -terms, KEY, **settings, baseline=0.0)
        better = faithfulness.MEASURES[measure.__name__].higher_is_better
        assert ((true > reverse) == better).all()


def test_the_default_output_is_the_probability_and_the_default_insertion_starts_blurred(linear):
    logits, _, images, targets = linear
    maps = np.zeros((3, SIDE, SIDE), np.float32)
    _, curves = faithfulness.insertion_curve(logits, images, targets, maps, KEY, steps=4)
    for inputs, column in ((faithfulness.blurred(images), 0), (images, -1)):
        expected = np.asarray(jax.nn.softmax(logits(inputs)))[np.arange(3), targets]
        np.testing.assert_allclose(curves[:, column], expected, rtol=1e-5)


def test_blurring_stays_within_a_slice_and_a_channel():
    images = np.zeros((2, 16, 16, 2), np.float32)
    images[1, 8, 8, 0] = 1
    found = faithfulness.blurred(images, sigma=1 / 16)
    assert not found[0].any() and not found[1, :, :, 1].any()
    assert found[1, 8, 8, 0] == pytest.approx(1 / (2 * np.pi), rel=0.02)


def test_equal_pixels_go_in_an_order_drawn_by_the_key():
    weights = np.arange(SIDE * SIDE, dtype=np.float32).reshape(1, SIDE, SIDE, 1)

    def logits(inputs):
        return jnp.sum(inputs * weights, axis=(1, 2, 3))[:, None]

    images, maps = np.ones((2, SIDE, SIDE, 1), np.float32), np.zeros((2, SIDE, SIDE), np.float32)
    maps[:, 0, 0] = 1
    runs = [
        faithfulness.deletion_curve(logits, images, [0, 0], maps, key, steps=36, output=target_scores)[1]
        for key in jax.random.split(KEY, 2)
    ]
    removed = -np.diff(runs[0], axis=1)
    assert (removed[:, 0] == 0).all()
    np.testing.assert_array_equal(np.sort(removed, axis=1), np.tile(np.arange(36), (2, 1)))
    assert (removed[0] == removed[1]).all() and (np.diff(removed[0, 1:]) < 0).any()
    assert (runs[0] != runs[1]).any()


def test_gradient_times_input_of_a_linear_function_has_sensitivity_n_of_one(linear):
    logits, _, images, targets = linear
    maps = gradient_times_input(logits, images, targets, KEY)
    settings = {"sizes": (1, 6, 20), "subsets": 25, "batch_size": 2}
    np.testing.assert_allclose(
        faithfulness.sensitivity_n(logits, images, targets, maps, KEY, **settings), 1.0, rtol=1e-5
    )
    np.testing.assert_allclose(
        faithfulness.sensitivity_n(logits, images, targets, -3 * maps, KEY, **settings), -1.0, rtol=1e-5
    )


def test_sensitivity_n_is_zero_for_a_constant_map_and_the_true_correlation_for_another(linear):
    logits, weights, images, targets = linear
    constant = np.ones((3, SIDE, SIDE), np.float32)
    assert (faithfulness.sensitivity_n(logits, images, targets, constant, KEY, sizes=(5,), subsets=20) == 0).all()
    # Of single pixels, all of them often: the correlation of the two maps.
    other = np.random.default_rng(1).normal(size=(3, SIDE, SIDE)).astype(np.float32)
    terms = (weights[targets] * images).sum(axis=-1)
    found = faithfulness.sensitivity_n(logits, images, targets, terms + other, KEY, sizes=(1,), subsets=400)[:, 0]
    for row in range(3):
        expected = np.corrcoef((terms + other)[row].ravel(), terms[row].ravel())[0, 1]
        assert found[row] == pytest.approx(expected, abs=0.12)


def test_sensitivity_n_of_several_maps_is_that_of_each(linear):
    logits, _, images, targets = linear
    maps = np.random.default_rng(2).normal(size=(2, 3, SIDE, SIDE)).astype(np.float32)
    settings = {"sizes": (4, 9), "subsets": 10}
    together = faithfulness.sensitivity_n(logits, images, targets, maps, KEY, **settings)
    assert together.shape == (2, 3, 2)
    for one, found in zip(maps, together, strict=True):
        np.testing.assert_allclose(
            found, faithfulness.sensitivity_n(logits, images, targets, one, KEY, **settings), atol=1e-12
        )


def test_max_sensitivity_of_a_linear_functions_gradient_is_zero_and_of_its_product_is_the_moved_product(linear):
    logits, weights, images, targets = linear

    def plain_gradient(logits, images, targets, key):
        return jax.grad(lambda inputs: target_scores(logits(inputs), targets).sum())(images).sum(axis=-1)

    settings = {"radius": 0.01, "samples": 4, "batch_size": 2}
    assert (faithfulness.max_sensitivity(plain_gradient, logits, images, targets, KEY, **settings) == 0).all()
    found = faithfulness.max_sensitivity(gradient_times_input, logits, images, targets, KEY, **settings)
    # |noise| <= radius: the change is at most that of noise aligned with the weights everywhere.
    largest = np.linalg.norm((weights[targets] * 0.01).sum(axis=-1), axis=(1, 2))
    bound = largest / np.linalg.norm((weights[targets] * images).sum(axis=-1), axis=(1, 2))
    assert (found > 0.3 * bound).all() and (found <= bound).all()
    double = faithfulness.max_sensitivity(
        gradient_times_input, logits, images, targets, KEY, **{**settings, "radius": 0.02}
    )
    np.testing.assert_allclose(double, 2 * found, rtol=1e-3)


@pytest.fixture
def own_baselines():
    """A baseline of its own for each image and channel: float32 [3, 1, 1, 2]."""
    return np.random.default_rng(5).uniform(-1, 0, (3, 1, 1, 2)).astype(np.float32)


def test_curves_lead_from_each_image_to_its_own_baseline(linear, own_baselines):
    logits, _, images, targets = linear
    maps = np.random.default_rng(6).normal(size=images.shape[:3]).astype(np.float32)
    settings = {"output": target_scores, "steps": 5, "batch_size": 2, "baseline": own_baselines}
    _, deleted = faithfulness.deletion_curve(logits, images, targets, maps, KEY, **settings)
    _, inserted = faithfulness.insertion_curve(logits, images, targets, maps, KEY, **settings)
    whole, start = (
        np.asarray(logits(inputs))[np.arange(3), targets]
        for inputs in (images, np.broadcast_to(own_baselines, images.shape))
    )
    for curve, ends in ((deleted, (whole, start)), (inserted, (start, whole))):
        np.testing.assert_allclose(curve[:, [0, -1]], np.stack(ends, axis=1), rtol=1e-4, atol=1e-4)
    for row in range(3):
        alone = settings | {"baseline": own_baselines[row, 0, 0]}
        _, expected = faithfulness.deletion_curve(logits, images, targets, maps, KEY, **alone)
        np.testing.assert_allclose(deleted[row], expected[row], rtol=1e-5)


def test_the_terms_from_each_images_own_baseline_have_sensitivity_n_of_one(linear, own_baselines):
    logits, weights, images, targets = linear
    settings = {"sizes": (4, 9), "subsets": 20, "batch_size": 2}
    terms = (weights[targets] * (images - own_baselines)).sum(axis=-1)
    right = faithfulness.sensitivity_n(logits, images, targets, terms, KEY, baseline=own_baselines, **settings)
    np.testing.assert_allclose(right, 1.0, rtol=1e-5)
    wrong = faithfulness.sensitivity_n(logits, images, targets, terms, KEY, baseline=own_baselines[::-1], **settings)
    assert (wrong[[0, 2]] < 0.999).all()


def test_max_sensitivity_keeps_each_images_own_baseline(linear, own_baselines):
    logits, weights, images, targets = linear

    def terms(logits, images, targets, key, *, baseline):
        return jnp.sum(jnp.asarray(weights)[targets] * (images - baseline), axis=-1)

    settings = {"samples": 3, "batch_size": 2}
    found = faithfulness.max_sensitivity(terms, logits, images, targets, KEY, baselines=own_baselines, **settings)
    for row in range(3):
        alone = own_baselines[row : row + 1]
        expected = faithfulness.max_sensitivity(terms, logits, images, targets, KEY, baselines=alone, **settings)
        assert found[row] == pytest.approx(expected[row], rel=1e-4)
        assert np.abs(np.delete(found / expected, row) - 1).max() > 1e-3


def test_a_random_methods_own_noise_does_not_count(linear):
    logits, _, images, targets = linear

    def noise(logits, images, targets, keys):
        return jax.vmap(lambda key: jax.random.normal(key, images.shape[1:3]))(keys)

    assert (faithfulness.max_sensitivity(noise, logits, images, targets, KEY, samples=2) == 0).all()


def test_max_sensitivity_of_several_maps_is_that_of_each(linear):
    logits, _, images, targets = linear

    def doubled(*arguments):
        maps = gradient_times_input(*arguments)
        return {"same": maps, "moved": maps + 1}

    found = faithfulness.max_sensitivity(doubled, logits, images, targets, KEY, samples=3)
    alone = faithfulness.max_sensitivity(gradient_times_input, logits, images, targets, KEY, samples=3)
    np.testing.assert_allclose(found["same"], alone, rtol=1e-6)
    assert (found["moved"] < alone).all()


def test_max_sensitivity_does_not_depend_on_the_size_of_the_batches(linear):
    logits, _, images, targets = linear
    one, two, all_at_once = (
        faithfulness.max_sensitivity(gradient_times_input, logits, images, targets, KEY, samples=3, batch_size=size)
        for size in (1, 2, 3)
    )
    np.testing.assert_allclose(one, all_at_once, rtol=1e-5)
    np.testing.assert_allclose(two, all_at_once, rtol=1e-5)
    assert len(set(one.tolist())) == 3


def test_a_zero_map_that_moves_has_infinite_sensitivity():
    def step(logits, images, targets, key):
        return jnp.maximum(images[..., 0] - 1.0, 0.0)

    images = np.stack([np.ones((4, 4, 1)), np.zeros((4, 4, 1))]).astype(np.float32)
    found = faithfulness.max_sensitivity(step, lambda images: images, images, [0, 0], KEY, samples=2)
    assert found.tolist() == [np.inf, 0.0]


def test_a_call_with_another_batch_of_the_same_function_does_not_compile_again(linear):
    logits, weights, images, targets = linear
    traces = []

    def counted(inputs):
        traces.append(inputs.shape)
        return logits(inputs)

    maps = weights[targets].sum(axis=-1)
    for _ in range(2):
        faithfulness.deletion(counted, images, targets, maps, KEY, steps=5, batch_size=2)
    assert traces == [(2, SIDE, SIDE, 2)]


def test_shapes_and_counts_that_cannot_be_are_refused(linear):
    logits, _, images, targets = linear
    maps = np.zeros((3, SIDE, SIDE), np.float32)
    with pytest.raises(ValueError, match=r"maps \[N, S, S\]"):
        faithfulness.deletion(logits, images, targets, maps[..., None], KEY)
    with pytest.raises(ValueError, match="steps must lie in 1 to 36"):
        faithfulness.insertion(logits, images, targets, maps, KEY, steps=37)
    with pytest.raises(ValueError, match="sizes must lie in 1 to 36"):
        faithfulness.sensitivity_n(logits, images, targets, maps, KEY, sizes=(0, 5))
    with pytest.raises(ValueError, match="finite"):
        faithfulness.deletion(logits, images, targets, np.full_like(maps, np.nan), KEY)
    with pytest.raises(ValueError, match="the baseline must be finite"):
        faithfulness.deletion(logits, images, targets, maps, KEY, steps=2, baseline=np.inf)
    with pytest.raises(ValueError, match="targets are float64"):
        faithfulness.sensitivity_n(logits, images, targets + 0.9, maps, KEY, sizes=(5,))
    with pytest.raises(ValueError, match="images must be finite"):
        faithfulness.max_sensitivity(gradient_times_input, logits, images * np.float32(np.nan), targets, KEY)
    with pytest.raises(ValueError, match="batch_size is 0"):
        faithfulness.insertion(logits, images, targets, maps, KEY, steps=2, batch_size=0)
