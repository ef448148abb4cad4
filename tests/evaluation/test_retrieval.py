"""Rankings, against scikit-learn."""

import numpy as np
from sklearn.metrics import average_precision_score

from btjax.evaluation.retrieval import CUTS, rank, retrieval_scores

RANDOM = np.random.default_rng(0)
DISTANCES = RANDOM.random((30, 50))
LABELS, DATABASE = RANDOM.integers(0, 3, 30), RANDOM.integers(0, 3, 50)


def test_average_precision_is_scikit_learns():
    found = rank(DISTANCES, LABELS, DATABASE)
    expected = [average_precision_score(label == DATABASE, -row) for row, label in zip(DISTANCES, LABELS, strict=True)]
    np.testing.assert_allclose(found.average_precision, expected, rtol=1e-12)


def test_precision_is_the_share_among_the_nearest():
    found = rank(DISTANCES, LABELS, DATABASE)
    for cut in CUTS:
        for row, label in enumerate(LABELS):
            nearest = DATABASE[np.argsort(DISTANCES[row])[:cut]]
            assert found.precision[cut][row] == np.mean(nearest == label)


def test_what_is_not_allowed_is_as_if_it_were_not_there():
    allowed = RANDOM.random((30, 50)) < 0.7
    found = rank(DISTANCES, LABELS, DATABASE, allowed)
    for row, label in enumerate(LABELS):
        kept = allowed[row]
        alone = rank(DISTANCES[row : row + 1, kept], np.array([label]), DATABASE[kept])
        np.testing.assert_allclose(found.average_precision[row], alone.average_precision[0], rtol=1e-12)
        assert found.database[row] == kept.sum()
        assert all(found.precision[cut][row] == alone.precision[cut][0] for cut in CUTS)


def test_a_random_order_has_the_average_precision_of_chance():
    labels, database = RANDOM.integers(0, 3, 200), RANDOM.integers(0, 3, 2000)
    ranked = rank(RANDOM.random((200, 2000)), labels, database)
    scores = retrieval_scores(ranked, np.arange(200), ("a", "b", "c"))
    assert abs(scores.average_precision.value - scores.chance) < 0.01


def test_a_perfect_order_scores_one_with_an_interval_below_it():
    distances = (LABELS[:, None] != DATABASE[None]) + 0.1 * DISTANCES
    scores = retrieval_scores(rank(distances, LABELS, DATABASE), np.arange(30) // 2, ("a", "b", "c"))
    assert scores.average_precision.value == 1
    low, high = scores.average_precision.ci95
    assert low < 1 and high == 1


def test_a_query_whose_class_is_not_there_has_no_average_precision():
    assert np.isnan(rank(DISTANCES[:1], np.array([7]), DATABASE).average_precision[0])
