"""Scores of maps against masks: cases worked by hand, scikit-learn, chance levels, real masks."""

import itertools

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from btjax.saliency import scores

SHARE = 4 / 64
AT_RANDOM = {"area_share": SHARE}


@pytest.fixture
def mask():
    """One 8x8 mask with a tumour of four pixels: rows 2 and 3, columns 3 and 4."""
    mask = np.zeros((1, 8, 8), bool)
    mask[0, 2:4, 3:5] = True
    return mask


def with_values(values: dict) -> np.ndarray:
    maps = np.zeros((1, 8, 8), np.float32)
    for place, value in values.items():
        maps[0][place] = value
    return maps


def test_the_mask_itself_scores_perfectly(mask):
    found = scores.score_maps(mask.astype(np.float32), mask, **AT_RANDOM)
    assert list(found) == list(scores.SCORES)
    for name, value in found.items():
        assert value.dtype == np.float64
        assert value == pytest.approx([1.0 if scores.SCORES[name].higher_is_better else 0.0]), name


def test_the_pointing_game_counts_a_peak_within_the_tolerance(mask):
    near = with_values({(2, 5): 1.0})
    diagonal = with_values({(1, 5): 1.0})
    assert scores.pointing_game(near, mask, tolerance=0) == [0]
    assert scores.pointing_game(near, mask, tolerance=1 / 8) == [1]
    assert scores.pointing_game(diagonal, mask, tolerance=1 / 8) == [0]
    assert scores.pointing_game(diagonal, mask, tolerance=1.5 / 8) == [1]


def test_equal_peaks_count_in_part(mask):
    maps = with_values({(2, 3): 1.0, (2, 0): 1.0, (7, 3): 1.0, (3, 4): 0.9})
    assert scores.pointing_game(maps, mask, tolerance=0) == pytest.approx([1 / 3])
    assert scores.peak_distance(maps, mask) == pytest.approx([(0 + 3 + 4) / 3 / 8])


def test_the_peak_is_the_highest_signed_value(mask):
    assert scores.pointing_game(with_values({(2, 3): -5.0, (7, 7): 1.0}), mask) == [0]


def test_energy_is_the_positive_parts_share(mask):
    maps = with_values({(2, 3): 3.0, (3, 3): -100.0, (0, 0): 1.0, (0, 1): 2.0, (7, 7): -8.0})
    assert scores.energy_inside(maps, mask) == pytest.approx([0.5])


def test_otsu_selects_the_bright_blob(mask):
    # Six bright pixels, two of them tumour: the intersection is 2, the union 8.
    maps = np.random.default_rng(0).uniform(0, 0.1, (1, 8, 8)).astype(np.float32)
    maps[0, 2:4, 4:7] = 1.0
    assert scores.iou_otsu(maps, mask) == pytest.approx([2 / 8])
    assert scores.dice_otsu(maps, mask) == pytest.approx([4 / 10])


def test_otsu_stands_values_that_hardly_differ(mask):
    maps = np.full((1, 8, 8), 1.0, np.float32)
    maps[mask] = np.nextafter(np.float32(1), np.float32(2))
    assert scores.iou_otsu(maps, mask) == [1]
    assert scores.iou_otsu(maps * np.float32(1e-30), mask) == [1]


def test_the_highest_pixels_are_as_many_as_the_area_share_says(mask):
    maps = with_values({(2, 3): 5.0, (2, 4): 4.0, (0, 0): 3.0, (0, 1): 2.0, (3, 3): 1.0})
    assert scores.iou_top(maps, mask, area_share=4 / 64) == pytest.approx([2 / 6])
    assert scores.dice_top(maps, mask, area_share=4 / 64) == pytest.approx([0.5])
    curve = scores.iou_curve(maps, mask, [1 / 64, 5 / 64, 1.0])
    np.testing.assert_allclose(curve, [[1 / 4, 3 / 6, 4 / 64]])


def test_ties_at_the_cut_give_the_mean_over_their_orders(mask):
    # Two pixels are sure, one in the tumour; of three equal ones, one in the tumour, two join.
    maps = with_values({(2, 3): 5.0, (0, 0): 4.0, (3, 3): 1.0, (7, 6): 1.0, (7, 7): 1.0})
    expected_hits = 1 + 2 / 3
    assert scores.dice_top(maps, mask, area_share=SHARE) == pytest.approx([2 * expected_hits / 8])
    assert scores.iou_top(maps, mask, area_share=SHARE) == pytest.approx([2 / 3 * 2 / 6 + 1 / 3 * 1 / 7])


def test_a_map_in_two_levels_has_the_areas_of_its_one_threshold(mask):
    maps = with_values({(2, 3): 1.0, (2, 4): 1.0, (0, 0): 1.0, (0, 1): 1.0})
    assert scores.roc_auc(maps, mask) == pytest.approx([(0.5 + 58 / 60) / 2])
    assert scores.average_precision(maps, mask) == pytest.approx([0.5 * 2 / 4 + 0.5 * 4 / 64])


@pytest.mark.parametrize("level", [0.0, 2.5, -1.0])
def test_a_constant_map_scores_what_chance_gives(mask, level):
    found = scores.score_maps(np.full((1, 8, 8), level, np.float32), mask, **AT_RANDOM)
    chance = scores.chance_levels(mask, **AT_RANDOM)
    for name in ("pointing", "energy", "iou_top", "dice_top", "roc_auc", "peak_distance"):
        assert found[name] == pytest.approx(chance[name]), name
    # Otsu then selects everything, and average precision has one threshold.
    for name in ("iou_otsu", "average_precision"):
        assert found[name] == pytest.approx([4 / 64]), name


def test_chance_levels_are_the_mean_over_all_places_of_the_tumour_under_one_order():
    # A map without ties, and each of the 84 masks of three pixels: every order of tumour and background once.
    places = list(itertools.combinations(range(9), 3))
    masks = np.zeros((len(places), 9), bool)
    for mask, place in zip(masks, places, strict=True):
        mask[list(place)] = True
    masks = masks.reshape(-1, 3, 3)
    maps = np.tile(np.arange(1, 10, dtype=np.float32).reshape(3, 3), (len(masks), 1, 1))
    found = scores.score_maps(maps, masks, area_share=4 / 9, tolerance=0)
    chance = scores.chance_levels(masks[:1], area_share=4 / 9, tolerance=0)
    for name in ("pointing", "energy", "iou_top", "dice_top", "average_precision", "roc_auc"):
        assert found[name].mean() == pytest.approx(chance[name][0], rel=1e-12), name


def test_noise_scores_the_chance_level_within_monte_carlo_error():
    mask = np.zeros((24, 24), bool)
    mask[5:12, 9:14] = True
    rows = 1500
    masks = np.tile(mask, (rows, 1, 1))
    noise = np.random.default_rng(1).uniform(size=masks.shape).astype(np.float32)
    found = scores.score_maps(noise, masks, area_share=0.03)
    chance = scores.chance_levels(mask[None], area_share=0.03)
    for name, values in found.items():
        error = values.std() / np.sqrt(rows)
        assert abs(values.mean() - chance[name][0]) < 4 * error, name


maps_and_masks = st.tuples(
    arrays.arrays(
        np.float32, (1, 5, 5), elements=st.floats(-4, 4, width=32, allow_subnormal=False) | st.integers(-2, 2)
    ),
    arrays.arrays(np.bool_, (1, 5, 5)).filter(lambda mask: mask.any() and not mask.all()),
)


@settings(max_examples=150, deadline=None)
@given(maps_and_masks)
def test_areas_equal_scikit_learn(pair):
    maps, masks = pair
    assert scores.roc_auc(maps, masks) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()))
    assert scores.average_precision(maps, masks) == pytest.approx(average_precision_score(masks.ravel(), maps.ravel()))


@settings(max_examples=60, deadline=None)
@given(maps_and_masks)
def test_scores_by_order_do_not_change_under_an_increasing_function(pair):
    maps, masks = pair
    # Ranks are the increasing function that no rounding can merge.
    ranks = np.unique(maps, return_inverse=True)[1].reshape(maps.shape).astype(np.float32)
    before = scores.score_maps(maps, masks, area_share=0.2)
    after = scores.score_maps(np.exp(ranks / 4) - 3, masks, area_share=0.2)
    for name in ("pointing", "peak_distance", "roc_auc", "average_precision", "iou_top", "dice_top"):
        assert after[name] == pytest.approx(before[name]), name


@settings(max_examples=60, deadline=None)
@given(maps_and_masks)
def test_every_score_is_defined_in_its_range_and_blind_to_a_positive_factor(pair):
    maps, masks = pair
    before = scores.score_maps(maps, masks, area_share=0.2)
    after = scores.score_maps(maps * np.float32(4), masks, area_share=0.2)
    for name, values in before.items():
        assert np.isfinite(values).all() and (values >= 0).all() and (values <= 1.5).all(), name
        assert after[name] == pytest.approx(values), name


def test_maps_that_are_zero_everywhere_are_counted():
    maps = np.zeros((5, 4, 4), np.float32)
    maps[1, 2, 3], maps[3, 0, 0] = 1e-30, -2
    assert scores.count_zero_maps(maps) == 3
    assert scores.count_zero_maps(maps[[1, 3]]) == 0


@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        (np.zeros((2, 4, 4), np.float32), np.zeros((2, 4, 5), bool), r"\[N, S, S\]"),
        (np.zeros((1, 4, 4), np.uint8), np.eye(4, dtype=bool)[None], "floating"),
        (np.full((1, 4, 4), np.nan, np.float32), np.eye(4, dtype=bool)[None], "finite.*row 0"),
        (np.zeros((1, 4, 4), np.float32), np.zeros((1, 4, 4), bool), "tumour and background"),
    ],
)
def test_what_has_no_score_is_refused(maps, masks, message):
    for score in (scores.roc_auc, scores.energy_inside):
        with pytest.raises(ValueError, match=message):
            score(maps, masks)


@pytest.mark.real
def test_real_masks_are_scored_without_gaps(real_slices_dir):
    for name in ("1", "2233"):
        image = Image.open(real_slices_dir / "masks" / f"{name}.png")
        masks = np.asarray(image.resize((128, 128), Image.Resampling.NEAREST))[None] > 0
        noise = np.random.default_rng(0).normal(size=(1, 128, 128)).astype(np.float32)
        for maps in (noise, np.maximum(noise - 2, 0), np.zeros_like(noise)):
            found = scores.score_maps(maps, masks, area_share=0.017)
            assert all(np.isfinite(value).all() for value in found.values())
            assert found["roc_auc"] == pytest.approx([0.5], abs=0.06)
        perfect = scores.score_maps(masks.astype(np.float32), masks, area_share=masks.mean())
        assert perfect["iou_otsu"] == perfect["iou_top"] == perfect["average_precision"] == [1]
