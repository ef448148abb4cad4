"""The baselines: frequencies in closed form, and a linear model that learns what is linear."""

import numpy as np
import pytest
from scipy.special import softmax

from btjax.evaluation.baselines import box_averages, class_prior, linear_model
from btjax.evaluation.classification import classification_report


def bright_spots(random: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """uint8 [N, 64, 64]: noise with a brighter square whose place is the class."""
    images = random.integers(0, 120, size=(len(labels), 64, 64))
    for image, label in zip(images, labels, strict=True):
        image[8:24, 4 + 20 * label : 20 + 20 * label] += 60
    return images.astype(np.uint8)


def test_the_class_prior_is_laplaces_rule():
    logits = class_prior(np.array([1, 1, 1, 0, 0, 2]), 2, classes=3)
    np.testing.assert_allclose(softmax(logits, axis=1), np.tile([3 / 9, 4 / 9, 2 / 9], (2, 1)))


def test_the_class_prior_stays_finite_for_a_class_never_seen():
    assert np.isfinite(class_prior(np.array([0, 1]), 1, classes=3)).all()


def test_the_class_prior_is_scored_as_a_constant():
    train, labels = np.array([1] * 50 + [0] * 25 + [2] * 25), np.array([0, 1, 2, 1])
    report = classification_report(class_prior(train, 4, classes=3), labels, classes=("a", "b", "c"))
    assert report.accuracy == 0.5
    assert report.roc_auc == 0.5


def test_box_averages_are_the_means_of_boxes():
    image = np.random.default_rng(0).integers(0, 256, size=(1, 64, 64), dtype=np.uint8)
    expected = image[0].reshape(32, 2, 32, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(255 * box_averages(image).reshape(32, 32), expected, rtol=1e-5)


def test_the_linear_model_finds_what_is_linear():
    random = np.random.default_rng(1)
    train, test = random.integers(3, size=240), random.integers(3, size=90)
    logits = linear_model(bright_spots(random, train), train, bright_spots(random, test), classes=3)
    assert logits.shape == (90, 3)
    assert (logits.argmax(axis=1) == test).mean() > 0.95


def test_the_linear_model_gives_the_same_logits_each_time_and_row_by_row():
    random = np.random.default_rng(2)
    train = random.integers(3, size=60)
    images, others = bright_spots(random, train), bright_spots(random, np.array([0, 1, 2, 0]))
    logits = linear_model(images, train, others, classes=3)
    np.testing.assert_array_equal(linear_model(images, train, others, classes=3), logits)
    np.testing.assert_allclose(linear_model(images, train, others[:2], classes=3), logits[:2], atol=1e-9)


@pytest.mark.parametrize("present", [(0, 2), (0, 1), (1, 2)])
def test_a_class_without_training_rows_is_never_predicted(present):
    random = np.random.default_rng(3)
    train = np.array(present * 30)
    images = bright_spots(random, train)
    logits = linear_model(images, train, images, classes=3)
    assert logits.shape == (60, 3)
    assert (logits.argmax(axis=1) == train).all()


def test_one_class_alone_cannot_be_fitted():
    with pytest.raises(ValueError, match="at least two classes, found 1"):
        linear_model(np.zeros((4, 32, 32), np.uint8), np.ones(4, int), np.zeros((1, 32, 32), np.uint8), classes=2)


@pytest.mark.parametrize("classes", [2, 10])
def test_baselines_take_any_number_of_classes(classes):
    random = np.random.default_rng(4)
    levels = random.permutation(np.repeat(np.arange(classes), 12))
    images = np.zeros((len(levels), 32, 32), np.uint8)
    for row, level in enumerate(levels):
        images[row, 3 * level : 3 * level + 3] = 200
    logits = linear_model(images, levels, images, classes=classes)
    assert logits.shape == (12 * classes, classes)
    assert (logits.argmax(axis=1) == levels).all()
    np.testing.assert_allclose(softmax(class_prior(levels, 1, classes=classes)), 1 / classes)
