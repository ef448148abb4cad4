"""Paired comparisons against statsmodels, all permutations, and chance."""

import itertools

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from btjax.evaluation.comparison import compare, compare_all, difference_interval, holm, permutation_p_value
from btjax.evaluation.ensembles import ensemble_gain, ensemble_logits
from btjax.evaluation.intervals import Clusters
from btjax.evaluation.labelled import Labelled


def rows_of(seed: int, patients: int = 40, strength: float = 1.0) -> Labelled:
    random = np.random.default_rng(0)
    names = np.repeat(np.arange(patients), random.integers(1, 12, size=patients))
    labels = random.integers(3, size=patients)[names]
    noise = np.random.default_rng(seed)
    of_patients, of_rows = noise.normal(size=(patients, 3))[names], noise.normal(size=(len(names), 3))
    return Labelled(strength * np.eye(3)[labels] + of_patients + of_rows, labels, names.astype(str))


def test_mcnemar_is_statsmodels_on_one_vote_a_patient():
    first, second = rows_of(1), rows_of(2, strength=3.0)
    found = compare(first, second.logits)
    votes = first.by_patient().correct, second.by_patient().correct
    table = [[np.sum(votes[0] & votes[1]), np.sum(votes[0] & ~votes[1])]]
    table.append([np.sum(~votes[0] & votes[1]), np.sum(~votes[0] & ~votes[1])])
    assert (found.first_only, found.second_only) == (table[0][1], table[1][0])
    assert found.p_mcnemar == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-12)
    assert found.difference == pytest.approx(second.correct.mean() - first.correct.mean())
    assert found.difference_ci95[0] < found.difference < found.difference_ci95[1]
    assert found.p_permutation < 0.05 and found.units == 40


def test_few_clusters_take_all_permutations():
    gains = np.array([1.0, 1, -1, 1, 1, 0, 1])
    clusters = Clusters(np.array([0, 0, 1, 2, 3, 4, 5]))
    sums = np.array([2.0, -1, 1, 1, 1])
    every = [abs(np.dot(signs, sums)) for signs in itertools.product((1, -1), repeat=5)]
    assert permutation_p_value(gains, clusters) == pytest.approx(np.mean(np.array(every) >= 4))


def test_systems_of_equal_skill_differ_by_chance_in_one_of_twenty():
    """Exchanging whole patients keeps the level; the share of p-values below .1 has a standard error of .03."""
    p_values = [compare(rows_of(seed), rows_of(seed + 500).logits, resamples=499).p_permutation for seed in range(100)]
    assert np.mean(np.array(p_values) < 0.1) < 0.2
    assert np.mean(np.array(p_values) < 0.5) == pytest.approx(0.5, abs=0.15)


def test_the_same_predictions_do_not_differ_and_are_not_certain_to():
    first = rows_of(3)
    found = compare(first, first.logits)
    assert (found.difference, found.p_permutation, found.p_mcnemar) == (0, 1, 1)
    assert found.difference_ci95 == pytest.approx((0.025 ** (1 / 40) - 1, 1 - 0.025 ** (1 / 40)))


def test_without_patients_there_is_no_vote():
    first = rows_of(4)
    found = compare(Labelled(first.logits, first.labels), rows_of(5).logits)
    assert found.p_mcnemar is None and found.first_only is None and found.units == found.rows


def test_a_table_of_systems_is_corrected_by_holm():
    systems = {
        name: rows_of(seed, strength=power).logits for name, seed, power in (("a", 1, 1), ("b", 2, 1.5), ("c", 3, 4))
    }
    found = compare_all(systems, rows_of(9), resamples=499)
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    raw = [one.p_permutation for one in found.values()]
    np.testing.assert_allclose([one.p_holm for one in found.values()], multipletests(raw, method="holm")[1])
    assert found["a", "c"].difference > 0
    assert holm([]) == []


def test_other_rows_are_refused():
    with pytest.raises(ValueError, match="logits"):
        compare(rows_of(1), np.zeros((2, 3)))


def test_paired_differences_stay_within_one():
    low, high = difference_interval(np.array([1.0, 1, 1, 0]), Clusters(np.arange(4))).ci95
    assert -1 <= low < 0.75 < high <= 1


@pytest.mark.parametrize("gain", [-1.0, 0.0, 0.5, 1.0])
def test_equal_gains_of_all_rows_leave_room_for_the_clusters_that_were_not_seen(gain):
    low, high = difference_interval(np.full(8, gain), Clusters(np.arange(8) // 2)).ci95
    # If more than this share of clusters gained -1, or 1, four clusters would include one with 97.5% probability.
    unseen = 1 - 0.025 ** (1 / 4)
    assert low == pytest.approx((1 - unseen) * gain - unseen) and high == pytest.approx((1 - unseen) * gain + unseen)


def test_an_ensemble_is_the_mean_of_the_probabilities():
    members = np.stack([rows_of(seed).logits for seed in range(3)])
    chances = np.exp(members) / np.exp(members).sum(axis=2, keepdims=True)
    np.testing.assert_allclose(np.exp(ensemble_logits(members)), chances.mean(axis=0), rtol=1e-12)
    with pytest.raises(ValueError, match="members, rows, classes"):
        ensemble_logits(members[0])


def test_the_gain_of_an_ensemble_is_over_the_mean_of_its_members():
    rows = rows_of(0)
    members = np.stack([rows_of(seed).logits for seed in range(5)])
    found = ensemble_gain(members, rows)
    accuracies = [np.mean(one.argmax(axis=1) == rows.labels) for one in members]
    assert found.member_accuracy == pytest.approx(tuple(accuracies))
    assert found.gain == pytest.approx(found.accuracy - np.mean(accuracies))
    assert found.gain > 0 and found.gain_ci95[0] < found.gain < found.gain_ci95[1]
    assert found.log_loss < found.member_log_loss


def test_an_ensemble_of_one_gains_nothing():
    rows = rows_of(0)
    assert ensemble_gain(rows.logits[None], rows).gain == 0
