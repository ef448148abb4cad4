"""The metrics against scikit-learn and statsmodels to 1e-12, with all rows and with each patient left out."""

import numpy as np
import pytest
from scipy.special import logit, softmax
from sklearn import metrics
from statsmodels.api import GLM, Logit, add_constant, families

from btjax.evaluation.intervals import Clusters
from btjax.evaluation.metrics import Rows, left_out_values, measure, roc_areas

EXACT = {"rel": 1e-12, "abs": 1e-12}


@pytest.fixture(scope="module")
def rows():
    """300 rows of 40 patients of three classes."""
    random = np.random.default_rng(7)
    patients = np.concatenate([np.arange(40), random.integers(40, size=260)])
    labels = random.integers(3, size=40)[patients]
    logits = 2 * np.eye(3)[labels] + random.normal(size=(300, 3))
    return Rows(logits, labels, Clusters(patients))


def expected(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    guesses, chances = logits.argmax(axis=1), softmax(logits, axis=1)
    areas = [metrics.roc_auc_score(labels == c, logit(chances[:, c])) for c in range(3)]
    specificity = [metrics.recall_score(labels != c, guesses != c) for c in range(3)]
    return {
        "accuracy": metrics.accuracy_score(labels, guesses),
        "macro_recall": metrics.balanced_accuracy_score(labels, guesses),
        "macro_precision": metrics.precision_score(labels, guesses, average="macro"),
        "macro_specificity": float(np.mean(specificity)),
        "macro_f1": metrics.f1_score(labels, guesses, average="macro"),
        "mcc": metrics.matthews_corrcoef(labels, guesses),
        "log_loss": metrics.log_loss(labels, chances),
        "brier_score": float(np.mean(np.sum((chances - np.eye(3)[labels]) ** 2, axis=1))),
        "roc_auc": float(np.mean(areas)),
    }


def test_values_are_scikit_learns_to_1e_12(rows):
    values, by_class = left_out_values(rows)
    for name, value in expected(rows.logits, rows.labels).items():
        assert values[name][0] == pytest.approx(value, **EXACT), name
    told = metrics.precision_recall_fscore_support(rows.labels, rows.predictions)
    for name, of_classes in zip(("precision", "recall", "f1"), told[:3], strict=True):
        assert by_class[name][0] == pytest.approx(of_classes, **EXACT)


def test_left_out_values_are_scikit_learns_on_the_other_rows(rows):
    values, _ = left_out_values(rows)
    for cluster in (0, 17, 39):
        kept = rows.clusters.numbers != cluster
        for name, value in expected(rows.logits[kept], rows.labels[kept]).items():
            assert values[name][1 + cluster] == pytest.approx(value, rel=1e-10), name


def test_slope_and_intercept_are_statsmodels(rows):
    chances = np.sort(softmax(rows.logits, axis=1), axis=1)[:, -1]
    correct, claimed = (rows.predictions == rows.labels).astype(float), logit(chances)
    slope = Logit(correct, add_constant(claimed)).fit(disp=0, tol=1e-14, maxiter=100).params[1]
    in_the_large = GLM(correct, np.ones((len(claimed), 1)), offset=claimed, family=families.Binomial())
    intercept = in_the_large.fit(tol=1e-14, maxiter=100).params[0]
    values, _ = left_out_values(rows)
    assert values["calibration_slope"][0] == pytest.approx(slope, rel=1e-9)
    assert values["calibration_intercept"][0] == pytest.approx(intercept, rel=1e-9)


def test_the_intervals_of_slope_and_intercept_are_near_the_cluster_robust_ones(rows):
    chances = np.sort(softmax(rows.logits, axis=1), axis=1)[:, -1]
    correct, claimed = (rows.predictions == rows.labels).astype(float), logit(chances)
    fitted = Logit(correct, add_constant(claimed)).fit(
        disp=0, cov_type="cluster", cov_kwds={"groups": rows.clusters.numbers}
    )
    low, high = measure(rows).main["calibration_slope"].ci95
    assert high - low == pytest.approx(np.diff(fitted.conf_int()[1])[0], rel=0.25)


def test_a_calibrated_classifier_has_slope_one_and_intercept_zero():
    random = np.random.default_rng(1)
    logits = 2 * random.normal(size=(40_000, 3))
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    patients = Clusters(np.arange(40_000) // 20)
    values, _ = left_out_values(Rows(logits, labels, patients))
    assert values["calibration_slope"][0] == pytest.approx(1, abs=0.05)
    assert values["calibration_intercept"][0] == pytest.approx(0, abs=0.05)
    sharper, _ = left_out_values(Rows(2 * logits, labels, patients))
    assert sharper["calibration_slope"][0] == pytest.approx(0.5, abs=0.1)
    assert sharper["calibration_intercept"][0] < -0.3


def test_areas_count_patients_with_rows_on_both_sides():
    random = np.random.default_rng(2)
    scores, positive = np.round(random.normal(size=80), 1), random.random(80) < 0.4
    clusters = Clusters(np.arange(80) % 9)
    areas = roc_areas(scores, positive, clusters)
    assert areas[0] == pytest.approx(metrics.roc_auc_score(positive, scores), **EXACT)
    for cluster in range(9):
        kept = clusters.numbers != cluster
        assert areas[1 + cluster] == pytest.approx(metrics.roc_auc_score(positive[kept], scores[kept]), **EXACT)


def test_every_interval_holds_its_value_and_has_a_width(rows):
    found = measure(rows)
    for one in (*found.main.values(), *(one for each in found.by_class.values() for one in each)):
        low, high = one.ci95
        assert low < one.value < high


def test_perfect_predictions_leave_room_for_doubt():
    labels = np.arange(60) % 3
    found = measure(Rows(9.0 * np.eye(3)[labels], labels, Clusters.of(np.arange(60) // 2 * 3 + labels)))
    for name in ("accuracy", "macro_recall", "macro_f1", "mcc", "roc_auc"):
        low, high = found.main[name].ci95
        assert low < 0.96 and high == pytest.approx(1), name
    assert found.main["calibration_slope"].value is None


def test_one_guess_for_all_has_no_correlation_and_no_slope():
    labels = np.arange(30) % 3
    found = measure(Rows(np.tile([1.0, 0, 0], (30, 1)), labels, Clusters(np.arange(30)))).main
    assert found["mcc"].value is None and found["calibration_slope"].value is None
    assert found["calibration_intercept"].value < 0
