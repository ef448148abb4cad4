"""The cluster bootstrap against scikit-learn on repeated rows, and against the truth on simulated patients."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

from btjax.evaluation import bootstrap


@pytest.fixture
def rows():
    """90 rows of 25 clusters with tied scores, three classes."""
    random = np.random.default_rng(3)
    labels = random.integers(3, size=90)
    scores = np.round(random.normal(size=(90, 3)) + np.eye(3)[labels], 1)
    return labels, scores, np.concatenate([np.arange(25), random.integers(25, size=65)])


def test_every_resample_draws_as_many_clusters_as_there_are():
    counts = bootstrap.resampled_counts(40, 500, seed=1)
    assert counts.shape == (500, 40)
    assert (counts.sum(axis=1) == 40).all()
    # Drawing with replacement leaves a cluster out with probability (1 - 1/40)^40.
    assert np.mean(counts == 0) == pytest.approx((1 - 1 / 40) ** 40, abs=0.01)


def test_the_same_seed_gives_the_same_resamples():
    assert (bootstrap.resampled_counts(9, 20, seed=5) == bootstrap.resampled_counts(9, 20, seed=5)).all()
    assert (bootstrap.resampled_counts(9, 20, seed=5) != bootstrap.resampled_counts(9, 20, seed=6)).any()


def test_resampled_metrics_equal_scikit_learn_on_the_rows_written_out(rows):
    labels, scores, clusters = rows
    predictions = scores.argmax(axis=1)
    losses = np.linspace(0, 1, len(labels))
    counts = bootstrap.resampled_counts(25, 12, seed=0)
    matrices = bootstrap.resampled_confusion(labels, predictions, 3, clusters, counts)
    areas = bootstrap.resampled_roc_auc(scores, labels, clusters, counts)
    means = bootstrap.resampled_mean(losses, clusters, counts)
    for resample, drawn in enumerate(counts):
        written = np.repeat(np.arange(len(labels)), drawn[clusters])
        expected = confusion_matrix(labels[written], predictions[written], labels=[0, 1, 2])
        np.testing.assert_array_equal(matrices[resample], expected)
        assert means[resample] == pytest.approx(losses[written].mean())
        for index in range(3):
            area = roc_auc_score(labels[written] == index, scores[written, index])
            assert areas[resample, index] == pytest.approx(area)


def test_blocks_of_resamples_give_what_one_block_gives(rows, monkeypatch):
    labels, scores, clusters = rows
    counts = bootstrap.resampled_counts(25, 12, seed=0)
    whole = bootstrap.resampled_roc_auc(scores, labels, clusters, counts)
    monkeypatch.setattr(bootstrap, "_CELLS_AT_ONCE", 5 * len(labels))
    np.testing.assert_array_equal(bootstrap.resampled_roc_auc(scores, labels, clusters, counts), whole)


def test_the_area_is_undefined_where_all_weight_is_on_one_side():
    weights = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    areas = bootstrap.weighted_roc_auc(np.array([0.1, 0.2, 0.9]), np.array([False, False, True]), weights)
    assert np.isnan(areas[0])
    assert areas[1] == 1


def test_the_interval_of_evenly_spread_resamples_is_known():
    assert bootstrap.percentile_interval(np.linspace(0, 1, 1001)) == pytest.approx([0.025, 0.975])


def test_an_interval_needs_nine_tenths_of_its_resamples():
    samples = np.linspace(0, 1, 100)
    samples[:10] = np.nan
    assert bootstrap.percentile_interval(samples) is not None
    samples[10] = np.nan
    assert bootstrap.percentile_interval(samples) is None


def test_a_mean_has_the_interval_of_resampled_clusters():
    values, patients = np.array([0.0, 1.0, 4.0, 4.0, 1.0]), np.array(["b", "b", "a", "c", "c"])
    found = bootstrap.mean_interval(values, patients, resamples=400, seed=2)
    drawn = bootstrap.resampled_counts(3, 400, 2)[:, [1, 1, 0, 2, 2]]
    means = [np.repeat(values, counts).mean() for counts in drawn]
    assert found.ci95 == pytest.approx(np.percentile(means, [2.5, 97.5]))
    assert (found.value, found.rows, found.clusters) == (2, 5, 3)
    assert bootstrap.mean_interval(values).clusters == 5


def test_a_mean_of_one_cluster_or_of_infinite_values_has_no_interval():
    assert bootstrap.mean_interval(np.array([1.0, 2.0]), np.array(["a", "a"])).ci95 is None
    assert bootstrap.mean_interval(np.array([1.0, np.inf])) == bootstrap.MeanInterval(np.inf, None, 2, 2)


def test_a_mean_needs_rows_and_one_cluster_for_each():
    with pytest.raises(ValueError, match="at least 1"):
        bootstrap.mean_interval(np.zeros(0))
    with pytest.raises(ValueError, match="each of 3 rows"):
        bootstrap.mean_interval(np.zeros(2), np.arange(3))


def test_a_ratio_of_means_resamples_both():
    random = np.random.default_rng(0)
    below = random.uniform(1, 2, size=40)
    resampling = bootstrap.resample(np.arange(40) // 2, resamples=300)
    low, high = resampling.ratio(3 * below, below)
    assert low == pytest.approx(3) and high == pytest.approx(3)
    above = below + random.normal(size=40)
    written = [np.repeat(np.arange(40), drawn[resampling.clusters].astype(int)) for drawn in resampling.counts]
    ratios = [above[rows].mean() / below[rows].mean() for rows in written]
    assert resampling.ratio(above, below) == pytest.approx(np.percentile(ratios, [2.5, 97.5]))
    assert resampling.ratio(above, np.zeros(40)) is None


def test_patient_intervals_cover_the_truth_and_slice_intervals_do_not():
    """Patients with 12 slices whose chance of a right answer differs: the truth is 0.75, and slices are correlated."""
    random = np.random.default_rng(11)
    patients, slices, trials = 60, 12, 250
    clusters = np.repeat(np.arange(patients), slices)
    hits = {"patient": 0, "slice": 0}
    widths = {"patient": 0.0, "slice": 0.0}
    for trial in range(trials):
        right = random.random(patients * slices) < random.beta(1.5, 0.5, size=patients)[clusters]
        by_unit = {"patient": clusters, "slice": np.arange(len(clusters))}
        for unit, of_unit in by_unit.items():
            counts = bootstrap.resampled_counts(of_unit.max() + 1, 300, seed=trial)
            low, high = bootstrap.percentile_interval(bootstrap.resampled_mean(right, of_unit, counts))
            hits[unit] += low <= 0.75 <= high
            widths[unit] += (high - low) / trials
    # The standard error of a coverage of 0.95 over 250 trials is 0.014.
    assert 0.90 <= hits["patient"] / trials <= 0.985
    assert hits["slice"] / trials < 0.75
    # The intraclass correlation is 1 / (1.5 + 0.5 + 1), so the design effect is 1 + 11 / 3 and its root 2.16.
    assert widths["patient"] / widths["slice"] == pytest.approx(2.16, rel=0.07)
