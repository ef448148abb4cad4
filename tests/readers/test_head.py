"""The head is found in the pixels alone: what is outside goes, what is inside stays."""

import numpy as np
import pytest
from scipy import ndimage

from btjax.data.phantom import make_phantom
from btjax.data.sources import find_source
from btjax.readers.head import black_outside, head_mask
from btjax.readers.raw import RawSlice, prepare, resize_image


def drawn_head(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A bright skull with a gap in it, dark brain, black ventricle, noisy air; and where the head is."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    side = min(height, width)
    radius = np.hypot(rows - height / 2, columns - width / 2) / side
    image = random.rayleigh(4, (height, width))
    image[radius < 0.38] += 60
    image[(radius > 0.34) & (radius < 0.38)] += 180
    image[radius < 0.08] = 0
    image[(rows < height / 2) & (np.abs(columns - width / 2) < 0.02 * side) & (radius > 0.3)] = 2
    return np.rint(image).astype(np.int16), radius < 0.38


@pytest.mark.parametrize("shape", [(64, 64), (200, 200), (512, 512), (300, 200), (90, 410)])
def test_the_head_is_kept_whole_and_the_air_is_not(shape):
    image, head = drawn_head(*shape)
    mask = head_mask(image)
    assert mask.shape == shape and mask.dtype == bool
    gap = 0.98 if min(shape) * 128 / max(max(shape), 128) > 60 else 0.9  # a flat slice is small in 128 pixels
    assert mask[head].mean() > gap
    far = ndimage.distance_transform_edt(~head) > 0.05 * max(shape)
    assert far.any() and not mask[far].any()


def test_a_gain_and_an_offset_change_nothing():
    image, _ = drawn_head(128, 128)
    mask = head_mask(image)
    np.testing.assert_array_equal(head_mask(image * np.int16(4) + np.int16(512)), mask)
    np.testing.assert_array_equal(head_mask(image.astype(np.float64) / 1024), mask)


def test_a_head_that_the_slice_cuts_has_no_hole_at_its_border():
    image, head = drawn_head(256, 256)
    cut, inside = image[:120], head[:120]  # the black ventricle now touches the lower border
    assert (cut[-1, 120:136] == 0).all()
    assert head_mask(cut)[inside].mean() > 0.99


def test_of_several_regions_the_largest_is_the_head():
    image, head = drawn_head(256, 256)
    image[4:20, 4:20] = 250
    mask = head_mask(image)
    assert not mask[:25, :25].any() and mask[head].mean() > 0.98


@pytest.mark.parametrize("value", [0, 7])
def test_a_blank_slice_stays(value):
    image = np.full((40, 40), value, np.uint8)
    assert head_mask(image).all()
    before, after = (prepare(RawSlice(image, 0, "1", "1.png"), 16, head_mask=way)[0] for way in (False, True))
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("image", [np.eye(2), np.arange(3).reshape(1, 3), np.ones((1, 1)), np.eye(50) * 1e30])
def test_tiny_and_odd_slices_have_a_mask(image):
    assert head_mask(image).shape == image.shape
    assert head_mask(image).any()


@pytest.mark.parametrize("size", [32, 96])
def test_no_tumour_of_a_synthetic_head_is_cut(size):
    slices = make_phantom(4, 4, size)
    masks = np.stack([head_mask(image) for image in slices.images])
    assert not (slices.masks & ~masks).any()
    assert 0.1 < 1 - masks.mean() < 0.8


def test_preparing_blacks_the_air_at_the_slices_own_size_and_leaves_the_tumours_mask_alone():
    image, _ = drawn_head(96, 96)
    tumour = np.zeros((96, 96), bool)
    tumour[0:8, 0:8] = True  # even where it were outside
    slice_ = RawSlice(image, 0, "1", "1.png", mask=tumour)
    (whole, _), (masked, mask) = (prepare(slice_, 96, head_mask=way) for way in (False, True))
    inside = head_mask(image)
    np.testing.assert_array_equal(masked, black_outside(whole, inside))
    assert (whole[~inside] > 0).any() and not masked[~inside].any()
    np.testing.assert_array_equal(masked[inside], whole[inside])
    np.testing.assert_array_equal(mask, tumour)
    small, _ = prepare(slice_, 40, head_mask=True)
    np.testing.assert_array_equal(small, resize_image(masked, 40))


@pytest.mark.real
def test_no_tumour_of_the_real_slices_is_cut(real_slices_dir):
    source = find_source(real_slices_dir)
    removed = []
    for first in range(0, len(source), 60):
        for slice_ in source.read(first=first, last=first + 1):
            mask = head_mask(slice_.image)
            assert not (slice_.mask & ~mask).any(), slice_.id
            removed.append(1 - mask.mean())
    assert len(removed) > 50 and 0.35 < np.median(removed) < 0.55
