"""Regions, rings and parts, against drawn shapes with known areas and against plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btjax.features.regions import brightness_parts, patches, region_of


def disk(side, radius):
    rows, columns = np.ogrid[:side, :side]
    return (rows - side // 2) ** 2 + (columns - side // 2) ** 2 <= radius**2


def test_dilation_by_a_disk_gives_the_pixels_that_are_near_enough():
    mask = np.zeros((64, 64), bool)
    mask[20:24, 30] = True
    region = region_of(mask, 7)
    rows, columns = np.indices(mask.shape)
    distance = np.min([np.hypot(rows - row, columns - 30) for row in range(20, 24)], axis=0)
    found = np.zeros_like(mask)
    found[region.rows, region.columns] = True
    np.testing.assert_array_equal(found, distance <= 7)


def test_rings_of_a_disk_have_the_areas_of_rings():
    region = region_of(disk(401, 160), 0)
    assert region.depth.min() == 0 and region.depth.max() == 1
    for level in range(4):
        counts = np.bincount(region.rings(level), minlength=2**level)
        edges = 160 * np.arange(2**level, -1, -1) / 2**level
        areas = np.pi * (edges[:-1] ** 2 - edges[1:] ** 2)
        np.testing.assert_allclose(counts / counts.sum(), areas / areas.sum(), atol=0.006)


def test_a_ring_of_a_coarse_level_is_made_of_two_rings_of_the_next():
    region = region_of(disk(65, 20), 3)
    for level in range(3):
        np.testing.assert_array_equal(region.rings(level), region.rings(level + 1) // 2)


def test_a_region_ends_at_the_slices_edge():
    mask = np.zeros((32, 32), bool)
    mask[0:3, 0:3] = True
    region = region_of(mask, 10)
    assert region.rows.min() == region.columns.min() == 0 and len(region) < 13 * 13
    corner = (region.rows == 0) & (region.columns == 0)
    assert region.depth[corner] == 0


def test_the_region_of_one_pixel_is_that_pixel_and_of_no_pixel_the_slice():
    mask = np.zeros((16, 16), bool)
    assert len(region_of(mask, 4)) == 256
    mask[5, 9] = True
    region = region_of(mask, 0)
    assert (region.rows.tolist(), region.columns.tolist(), region.depth.tolist()) == ([5], [9], [0.0])
    assert region.rings(3).tolist() == [0]


def test_patches_are_the_pixels_around_each_pixel():
    image = np.random.default_rng(0).integers(0, 256, (20, 20), np.uint8)
    region = region_of(disk(20, 5), 0)
    found = patches(image, region, 5)
    for place in (0, len(region) // 2, len(region) - 1):
        row, column = region.rows[place], region.columns[place]
        around = image[row - 2 : row + 3, column - 2 : column + 3]
        np.testing.assert_allclose(found[place] * 255, around.ravel(), atol=1e-4)


def test_patches_at_the_edge_are_mirrored():
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)
    found = patches(image, region_of(np.ones((4, 4), bool), 0), 3)[0] * 255
    np.testing.assert_allclose(found, [0, 0, 1, 0, 0, 1, 4, 4, 5], atol=1e-4)


@given(st.integers(1, 9), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_parts_of_different_grey_levels_are_equally_large_and_ordered(parts, seed):
    image = np.random.default_rng(seed).permutation(256).astype(np.uint8).reshape(16, 16)
    found = brightness_parts(image, region_of(np.ones((16, 16), bool), 0), parts)
    sizes = np.bincount(found, minlength=parts)
    assert sizes.sum() == 256 and sizes.max() - sizes.min() <= 2
    means = [image.ravel()[found == part].mean() for part in range(parts)]
    assert means == sorted(means)


def test_a_region_of_one_grey_level_is_one_part():
    found = brightness_parts(np.full((8, 8), 7, np.uint8), region_of(np.ones((8, 8), bool), 0), 4)
    assert len(np.unique(found)) == 1


@pytest.mark.parametrize("radius", [0, 3])
def test_a_region_is_that_of_its_slice_wherever_the_tumour_lies(radius):
    mask = np.zeros((48, 48), bool)
    mask[10:15, 12:20] = True
    here, there = region_of(mask, radius), region_of(np.roll(mask, (9, 7), (0, 1)), radius)
    np.testing.assert_array_equal(here.rows + 9, there.rows)
    np.testing.assert_array_equal(here.columns + 7, there.columns)
    np.testing.assert_array_equal(here.depth, there.depth)
