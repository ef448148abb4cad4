"""Region proposals: boxes of maps and of masks."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from skimage.measure import regionprops

from btjax.saliency.boxes import box_overlap, centre_boxes, mask_boxes, propose, random_boxes

SIZE = 64


def filled(*boxes):
    """bool [N, S, S]: each box filled."""
    masks = np.zeros((len(boxes), SIZE, SIZE), bool)
    for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    return masks


@st.composite
def any_box(draw):
    top, left = draw(st.integers(0, SIZE - 1)), draw(st.integers(0, SIZE - 1))
    return [top, left, draw(st.integers(top + 1, SIZE)), draw(st.integers(left + 1, SIZE))]


@hypothesis.given(any_box(), any_box())
def test_overlap_is_that_of_the_boxes_pixels(first, second):
    one, other = filled(first, second)
    expected = (one & other).sum() / (one | other).sum()
    assert box_overlap(np.array([[first]]), np.array([second])).item() == pytest.approx(expected)


@hypothesis.given(any_box(), any_box())
def test_the_box_of_a_mask_is_scikit_images(first, second):
    mask = filled(first)[0] | filled(second)[0]
    (region,) = regionprops(mask.astype(int))
    assert mask_boxes(mask[None])[0].tolist() == list(region.bbox)


def test_an_empty_mask_has_no_box():
    with pytest.raises(ValueError, match="empty"):
        mask_boxes(np.zeros((1, SIZE, SIZE), bool))


def test_the_brightest_spot_is_proposed_first_and_every_spot_among_the_first():
    spots = [[6, 6, 20, 20], [6, 40, 16, 50], [44, 20, 52, 28]]
    values = sum(weight * mask for weight, mask in zip((3.0, 2.5, 2.0), filled(*spots), strict=True))
    boxes = propose(values[None], 8)
    first, *others = (box_overlap(boxes, np.array([spot])).ravel() for spot in spots)
    assert first[0] > 0.7 and all(one.max() > 0.6 and one[0] == 0 for one in others)


def test_boxes_do_not_depend_on_a_maps_scale_or_offset():
    values = np.random.default_rng(0).normal(size=(3, SIZE, SIZE))
    np.testing.assert_array_equal(propose(values, 10), propose(5 * values - 40, 10))


def test_proposals_lie_in_the_slice_and_the_best_of_one_slice_differ():
    boxes = propose(np.random.default_rng(1).normal(size=(4, SIZE, SIZE)), 10)
    assert boxes.shape == (4, 10, 4) and boxes.min() >= 0 and boxes.max() <= SIZE
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    for own in boxes:
        assert max(box_overlap(own[None, 1:5], own[:1]).ravel()) <= 0.5


def test_a_constant_map_proposes_nothing_but_the_slice():
    assert propose(np.ones((1, SIZE, SIZE)), 3)[0].tolist() == [[0, 0, SIZE, SIZE]] * 3


@pytest.mark.parametrize("count", [0, -1])
def test_no_boxes_cannot_be_asked_for(count):
    with pytest.raises(ValueError, match="at least 1"):
        propose(np.ones((1, SIZE, SIZE)), count)


def test_random_boxes_have_known_sizes_about_the_head_and_vary():
    head = filled([10, 12, 50, 54])
    sizes = np.array([[8, 6], [4, 10]])
    boxes = random_boxes(np.repeat(head, 5, axis=0), sizes, 10, seed=0)
    found = {tuple(size) for size in (boxes[..., 2:] - boxes[..., :2]).reshape(-1, 2).tolist()}
    assert found == {(8, 6), (4, 10)} and len(np.unique(boxes.reshape(-1, 4), axis=0)) > 40
    middles = (boxes[..., :2] + boxes[..., 2:]) / 2
    assert (middles >= [10 - 1, 12 - 1]).all() and (middles <= [50, 54]).all()
    np.testing.assert_array_equal(boxes, random_boxes(np.repeat(head, 5, axis=0), sizes, 10, seed=0))


def test_centre_boxes_begin_with_the_middle_size_at_the_mean_middle():
    known = np.array([[10, 10, 20, 20], [12, 12, 16, 16], [14, 14, 34, 34]])  # middles 15, 14, 24
    boxes = centre_boxes(2, SIZE, known, 3)
    np.testing.assert_array_equal(boxes[0], boxes[1])
    assert boxes[0, 0].tolist() == [13, 13, 23, 23]
    assert sorted((boxes[0, :, 2] - boxes[0, :, 0]).tolist()) == [4, 10, 20]
