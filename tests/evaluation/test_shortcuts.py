"""What the floors see: borders and statistics of images whose values are known."""

import numpy as np
import pytest

from btjax.evaluation import shortcuts


def test_the_border_is_the_outer_five_of_64_pixels_whatever_the_size():
    images = np.zeros((1, 128, 128), np.uint8)
    images[0, 10:-10, 10:-10] = 255
    assert not shortcuts.border_pixels(images).any()
    images[0, :2, :2] = 255
    pixels = shortcuts.border_pixels(images)
    assert pixels.shape == (1, 64 * 64 - 54 * 54)
    assert pixels.sum() == 1


def test_the_ten_statistics_of_a_bright_box():
    images = np.zeros((1, 100, 100), np.uint8)
    images[0, 20:60, 10:90] = 100
    found = dict(zip(shortcuts.STATISTICS, shortcuts.image_statistics(images, images > 0)[0], strict=True))
    assert len(found) == 10
    assert found["mean"] == pytest.approx(32)
    assert found["standard deviation"] == pytest.approx(100 * np.sqrt(0.32 * 0.68))
    assert [found[name] for name in ("10th percentile", "median", "90th percentile", "99th percentile")] == [
        0, 0, 100, 100,
    ]  # fmt: skip
    assert found["share of black pixels"] == pytest.approx(0.68)
    assert [found[f"{name} of the head"] for name in ("top", "height", "width")] == pytest.approx([0.2, 0.4, 0.8])


def test_statistics_do_not_see_what_is_where_within_the_head():
    images = np.random.default_rng(0).integers(20, 255, (3, 64, 64)).astype(np.uint8)
    heads = np.ones(images.shape, bool)
    assert np.array_equal(
        shortcuts.image_statistics(images, heads), shortcuts.image_statistics(images[:, ::-1, ::-1], heads)
    )


@pytest.mark.parametrize(
    ("patient", "source"),
    [("MR040240B", "MR"), ("100360", "numeric"), ("P0001", "P"), ("site_7", "site"), ("", "numeric"), ("É12", "É")],
)
def test_the_source_is_what_letters_an_id_begins_with(patient, source):
    assert shortcuts.sources_of([patient]).tolist() == [source]


def test_the_forest_learns_a_relation_that_no_line_separates_and_never_predicts_an_unseen_class():
    random = np.random.default_rng(0)
    features = random.normal(size=(400, 2))
    labels = (features[:, 0] * features[:, 1] > 0).astype(int)
    logits = shortcuts.fitted_forest(features[:300], labels[:300], features[300:], classes=3)
    assert np.mean(logits.argmax(axis=1) == labels[300:]) > 0.85
    assert np.isfinite(logits).all()
    assert not np.any(logits.argmax(axis=1) == 2)


def test_a_probe_does_not_learn_from_the_group_that_it_predicts():
    """Each group has a feature of its own that gives its side away: useless for other groups."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 5)
    positive = random.permutation(np.arange(20) % 2 == 0)[groups]
    features = np.eye(20)[groups] + random.normal(0, 0.01, (100, 20))
    told = shortcuts.cross_validated_probe(features, positive, groups)
    assert np.mean((told > 0) == positive) < 0.7
    features[:, 0] = positive + random.normal(0, 0.1, 100)
    told = shortcuts.cross_validated_probe(features, positive, groups)
    assert np.mean((told > 0) == positive) > 0.95
    with pytest.raises(ValueError, match="two groups on each side"):
        shortcuts.cross_validated_probe(features, groups == 3, groups)


def test_slices_shrink_by_averaging_boxes():
    images = np.zeros((1, 128, 128), np.uint8)
    images[0, ::2] = 100
    assert np.array_equal(np.unique(shortcuts.shrunk(images)), [50])
