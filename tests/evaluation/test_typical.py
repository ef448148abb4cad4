"""Which slices look like those of the training."""

import numpy as np
import pytest

from btjax.evaluation.typical import ANSWERED, Seen, Typical, auroc


def rows(count, seed, shift=0.0, deep=8, wide=12):
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, wide)).astype(np.float32) @ np.diag(np.arange(1, wide + 1)).astype(np.float32)
    features[:, -1] = 3  # a dead unit
    return Seen(
        random.normal(size=(count, 3)).astype(np.float32),
        np.abs(random.normal(size=(count, deep))).astype(np.float32),
        features + np.float32(shift),
    )


def test_the_promised_share_of_slices_like_the_validations_is_answered():
    typical = Typical.fit(rows(800, 0), rows(400, 1))
    answered = typical.typicality(rows(4000, 2)) >= 1 - ANSWERED
    assert abs(answered.mean() - ANSWERED) < 0.03
    assert (typical.typicality(rows(400, 1)) >= 1 - ANSWERED).mean() >= ANSWERED


def test_strange_statistics_a_strange_direction_and_flat_logits_each_suffice():
    typical, usual = Typical.fit(rows(800, 0), rows(400, 1)), rows(200, 2)
    far = Seen(usual.logits, usual.deep, usual.wide + np.float32(40))
    turned = Seen(usual.logits, -usual.deep, usual.wide)
    flat = Seen(usual.logits - np.float32(20), usual.deep, usual.wide)
    for strange in (far, turned, flat):
        assert (typical.typicality(strange) < 1 - ANSWERED).all()
        assert auroc(typical.strangeness(usual), typical.strangeness(strange)) > 0.99


def test_distance_is_mahalanobis_under_the_shrunk_covariance_of_the_training_rows():
    from sklearn.covariance import LedoitWolf

    trained = rows(300, 0)
    typical, other = Typical.fit(trained, rows(50, 1)), rows(20, 2)
    varies = trained.wide.std(axis=0) > 0
    scaled = (trained.wide - trained.wide.mean(axis=0))[:, varies] / trained.wide.std(axis=0)[varies]
    fitted = LedoitWolf(assume_centered=True).fit(scaled.astype(np.float64))
    where = (other.wide - trained.wide.mean(axis=0))[:, varies] / trained.wide.std(axis=0)[varies]
    expected = fitted.mahalanobis(where.astype(np.float64))
    np.testing.assert_allclose(typical.parts(other)[:, 0], expected, rtol=1e-3)


def test_what_is_kept_gives_the_same_scores():
    typical = Typical.fit(rows(100, 0), rows(50, 1))
    np.testing.assert_array_equal(Typical.of(typical.arrays()).typicality(rows(9, 3)), typical.typicality(rows(9, 3)))


def test_without_validation_rows_nothing_is_learnt():
    with pytest.raises(ValueError, match="0 validation rows"):
        Typical.fit(rows(10, 0), rows(0, 1))


@pytest.mark.parametrize("validated", [1, 18, 19, 20, 39, 400])
def test_what_is_above_the_threshold_is_what_is_not_answered(validated):
    typical = Typical.fit(rows(200, 0), rows(validated, 1))
    tested = rows(300, 2, shift=2)
    seen = Seen(*(np.concatenate(pair) for pair in zip(*map(vars_of, (tested, rows(validated, 1))), strict=True)))
    answered = typical.typicality(seen) >= 1 - ANSWERED
    assert ((typical.strangeness(seen) <= typical.threshold) == answered).all()


def vars_of(seen):
    return seen.logits, seen.deep, seen.wide
