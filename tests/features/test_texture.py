"""Texture, against scikit-image, plain loops and scikit-learn."""

import numpy as np
import pytest
from skimage.feature import graycomatrix

from btjax.base.errors import InputError
from btjax.features import texture
from btjax.features.regions import patches, region_of

IMAGE = np.random.default_rng(1).integers(0, 256, (40, 40), np.uint8)
WHOLE = region_of(np.ones((40, 40), bool), 0)


def test_grey_levels_are_cut_into_equal_intervals():
    levels = texture.quantised(np.arange(256, dtype=np.uint8), 20)
    np.testing.assert_array_equal(levels, np.floor(np.arange(256) / 256 * 20))


def test_level_counts_are_the_histograms_of_the_rings():
    found = texture.level_counts(IMAGE, WHOLE, 10)
    for ring in range(8):
        values = IMAGE[WHOLE.rows, WHOLE.columns][WHOLE.rings(3) == ring]
        np.testing.assert_array_equal(found[ring], np.histogram(values, np.linspace(0, 256, 11))[0])


@pytest.mark.parametrize("distance", [1, 4])
def test_pairs_of_a_whole_slice_are_scikit_images(distance):
    found = texture.pair_counts(IMAGE, WHOLE, 6, distance)[0]
    image, steps = texture.quantised(IMAGE, 6), distance * np.sqrt(2)
    straight = graycomatrix(image, [distance], [0, np.pi / 2], 6, symmetric=True, normed=True)
    diagonal = graycomatrix(image, [steps], [np.pi / 4, 3 * np.pi / 4], 6, symmetric=True, normed=True)
    mean = np.concatenate([straight, diagonal], axis=-1).mean(axis=(2, 3))
    np.testing.assert_allclose(found, mean[np.tril_indices(6)], rtol=1e-6)


def test_pairs_of_a_ring_are_those_whose_both_pixels_lie_in_it():
    levels, distance, ring = 4, 2, 1
    found = texture.pair_counts(IMAGE, WHOLE, levels, distance)[1 + ring]  # level 1 has two rings
    inside = np.zeros(IMAGE.shape, bool)
    chosen = WHOLE.rings(1) == ring
    inside[WHOLE.rows[chosen], WHOLE.columns[chosen]] = True
    image, total = texture.quantised(IMAGE, levels), np.zeros((levels, levels))
    for down, right in ((0, distance), (distance, 0), (distance, distance), (-distance, distance)):
        counts = np.zeros((levels, levels))
        for row, column in np.argwhere(inside):
            other = row + down, column + right
            if 0 <= other[0] < 40 and 0 <= other[1] < 40 and inside[other]:
                counts[image[row, column], image[other]] += 1
                counts[image[other], image[row, column]] += 1
        total += counts / counts.sum() / 4
    np.testing.assert_allclose(found, total[np.tril_indices(levels)], rtol=1e-6)


def test_a_ring_without_pairs_is_zero():
    mask = np.zeros((40, 40), bool)
    mask[5, 5] = True
    assert not texture.pair_counts(IMAGE, region_of(mask, 0), 4, 1).any()


def test_every_pixel_has_the_word_that_is_nearest():
    words = np.random.default_rng(2).random((17, 9)).astype(np.float32)
    found = texture.word_counts(IMAGE, WHOLE, words)
    each = patches(IMAGE, WHOLE, 3)
    nearest = np.array([np.argmin([np.sum((patch - word) ** 2) for word in words]) for patch in each])
    expected = [np.bincount(nearest[WHOLE.rings(3) == ring], minlength=17) for ring in range(8)]
    np.testing.assert_array_equal(found, expected)


def test_shares_of_a_coarse_level_are_those_of_its_pixels():
    counts = np.random.default_rng(3).integers(0, 9, (5, 8, 4))
    for level in range(4):
        found = texture.ring_shares(counts, level).reshape(5, 2**level, 4)
        np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-6)
        joined = counts.reshape(5, 2**level, -1, 4).sum(axis=2)
        np.testing.assert_allclose(found, joined / joined.sum(axis=-1, keepdims=True), rtol=1e-6)


def test_an_empty_ring_has_no_shares():
    assert not texture.ring_shares(np.zeros((1, 8, 3), np.int32), 2).any()


def test_a_vocabulary_finds_the_clusters_that_are_there():
    centres = np.eye(4, dtype=np.float32)
    sample = np.repeat(centres, 50, axis=0) + np.random.default_rng(4).normal(0, 0.01, (200, 4)).astype(np.float32)
    words = texture.learned_words(sample, 4, seed=0)
    np.testing.assert_allclose(words[np.argsort(-words.argmax(axis=1))][::-1], centres, atol=0.02)


def test_fewer_patches_than_words_are_refused_in_one_line():
    with pytest.raises(
        InputError, match=r"^--words=5: the training regions have 2 different patches, expected as many"
    ):
        texture.learned_words(np.repeat(np.eye(2, dtype=np.float32), 9, axis=0), 5, seed=0)
