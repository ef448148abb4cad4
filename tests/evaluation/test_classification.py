"""The classification report against scikit-learn, by hand on small cases, and at its edges."""

import json
import time

import msgspec
import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics
from statsmodels.stats.proportion import proportion_confint

from btjax.evaluation.classification import CLASS_METRICS, MAIN_METRICS, Scores, classification_report
from btjax.evaluation.intervals import METHOD, IntervalSettings

CLASSES = ("meningioma", "glioma", "pituitary")


@pytest.fixture(scope="module")
def rows():
    """400 rows of 50 patients, each with one class; logits share a part within a patient."""
    random = np.random.default_rng(7)
    patients = np.concatenate([np.arange(50), random.integers(50, size=350)])
    labels = random.integers(3, size=50)[patients]
    logits = 1.5 * np.eye(3)[labels] + random.normal(size=(50, 3))[patients] + random.normal(size=(400, 3))
    return logits.astype(np.float32), labels, np.array([f"MR{number:06d}" for number in patients])


@pytest.fixture(scope="module")
def report(rows):
    logits, labels, patients = rows
    return classification_report(logits, labels, classes=CLASSES, patients=patients)


def test_point_values_are_scikit_learns(rows, report):
    logits, labels, _ = rows
    predictions, probabilities = logits.argmax(axis=1), softmax(logits.astype(np.float64), axis=1)
    assert report.accuracy == pytest.approx(metrics.accuracy_score(labels, predictions))
    assert report.macro_f1 == pytest.approx(metrics.f1_score(labels, predictions, average="macro"))
    assert report.macro_precision == pytest.approx(metrics.precision_score(labels, predictions, average="macro"))
    assert report.macro_recall == pytest.approx(metrics.recall_score(labels, predictions, average="macro"))
    assert report.roc_auc == pytest.approx(metrics.roc_auc_score(labels, probabilities, multi_class="ovr"))
    assert report.log_loss == pytest.approx(metrics.log_loss(labels, probabilities))
    assert np.array_equal(report.confusion_matrix, metrics.confusion_matrix(labels, predictions))
    expected = metrics.classification_report(labels, predictions, target_names=CLASSES, output_dict=True)
    for name in CLASSES:
        assert report.per_class[name].precision == pytest.approx(expected[name]["precision"])
        assert report.per_class[name].recall == pytest.approx(expected[name]["recall"])
        assert report.per_class[name].f1 == pytest.approx(expected[name]["f1-score"])
        assert report.per_class[name].support == expected[name]["support"]


def test_intervals_of_every_metric_hold_its_value_and_have_a_width(report):
    for scores in (report, report.by_patient):
        for name in MAIN_METRICS:
            low, high = getattr(scores, f"{name}_ci95")
            assert low < getattr(scores, name) < high
        for name in CLASSES:
            for metric in CLASS_METRICS:
                low, high = getattr(scores.per_class[name], f"{metric}_ci95")
                assert low <= getattr(scores.per_class[name], metric) <= high


def test_families_are_the_clusters_where_they_are_given(rows, report):
    logits, labels, patients = rows
    families = np.array([f"F{int(name[2:]) // 3}" for name in patients])
    found = classification_report(logits, labels, classes=CLASSES, patients=patients, groups=families)
    assert (found.interval.unit, found.interval.units, found.patients) == ("family", 17, 50)
    assert found.by_patient.interval.units == 17 and found.by_patient.predictions == 50
    assert found.accuracy == report.accuracy and found.accuracy_ci95 != report.accuracy_ci95
    linked = classification_report(logits, labels, classes=CLASSES, groups=families)
    assert (linked.interval.unit, linked.patients, linked.by_patient) == ("group", None, None)
    assert linked.accuracy_ci95 == found.accuracy_ci95


def test_one_vote_a_patient_has_the_binomial_interval(report):
    by_patient = report.by_patient
    hits = int(np.trace(by_patient.confusion_matrix))
    expected = proportion_confint(hits, by_patient.predictions, method="beta")
    assert by_patient.accuracy_ci95 == pytest.approx(expected, abs=1e-12)
    found = by_patient.per_class["glioma"]
    hits = by_patient.confusion_matrix[1][1]
    assert found.recall_ci95 == pytest.approx(proportion_confint(hits, found.support, method="beta"), abs=1e-12)


def test_rows_of_several_seeds_stay_the_same_patients(rows, report):
    """Three copies of every row say no more than one."""
    logits, labels, patients = (np.concatenate([array] * 3) for array in rows)
    tripled = classification_report(logits, labels, classes=CLASSES, patients=patients)
    assert tripled.accuracy_ci95 == pytest.approx(report.accuracy_ci95, abs=2e-3)
    assert tripled.by_patient.accuracy_ci95 == pytest.approx(report.by_patient.accuracy_ci95)


def test_three_thousand_rows_are_scored_within_a_second():
    random = np.random.default_rng(0)
    patients = random.integers(233, size=3064)
    labels = random.integers(3, size=233)[patients]
    logits = 2 * np.eye(3)[labels] + random.normal(size=(3064, 3))
    classification_report(logits[:50], labels[:50], classes=CLASSES, patients=patients[:50])  # imports
    began = time.process_time()
    classification_report(logits, labels, classes=CLASSES, patients=patients)
    assert time.process_time() - began < 1


def read_back(scores: Scores) -> Scores:
    """Through JSON text and back, as report.json is written and read."""
    text = json.dumps(msgspec.to_builtins(scores), allow_nan=False)
    return msgspec.convert(json.loads(text), Scores, strict=False)


def test_the_scores_come_back_from_json_and_are_the_same_each_time(rows, report):
    logits, labels, patients = rows
    again = classification_report(logits, labels, classes=CLASSES, patients=patients)
    assert again == report
    assert read_back(report) == report
    assert report.interval == IntervalSettings(METHOD, unit="patient", units=50)
    assert (report.slices, report.predictions, report.patients) == (400, 400, 50)


@pytest.mark.parametrize("classes", [2, 5, 10])
def test_any_number_of_classes_is_scored_as_scikit_learn_scores_them(classes):
    random = np.random.default_rng(classes)
    labels = np.concatenate([np.arange(classes), random.integers(classes, size=200)])
    logits = np.eye(classes)[labels] + random.normal(size=(len(labels), classes))
    names = tuple(f"class {index}" for index in range(classes))
    report = classification_report(logits, labels, classes=names)
    predictions, probabilities = logits.argmax(axis=1), softmax(logits, axis=1)
    areas = [metrics.roc_auc_score(labels == index, probabilities[:, index]) for index in range(classes)]
    assert list(report.per_class) == list(names)
    assert report.roc_auc == pytest.approx(np.mean(areas))
    assert report.macro_f1 == pytest.approx(metrics.f1_score(labels, predictions, average="macro"))
    assert report.macro_recall == pytest.approx(metrics.balanced_accuracy_score(labels, predictions))
    assert np.array_equal(report.confusion_matrix, metrics.confusion_matrix(labels, predictions))
    assert read_back(report) == report


def test_rows_of_a_single_class_have_an_accuracy_and_no_area():
    logits = np.array([[2.0, 0, 0], [0, 2, 0], [2, 0, 0], [2, 0, 0]])
    report = classification_report(logits, np.zeros(4, int), classes=CLASSES)
    assert report.accuracy == report.per_class["meningioma"].recall == 0.75
    assert report.per_class["meningioma"].precision == 1
    assert report.per_class["meningioma"].roc_auc is None
    assert report.per_class["glioma"].precision is None
    assert report.roc_auc is None and report.macro_recall is None
    assert report.accuracy_ci95 is not None and report.expected_calibration_error_ci95 is not None
    assert read_back(report) == report


def test_patients_make_intervals_wider_than_slices_do(rows, report):
    logits, labels, _ = rows
    by_slice = classification_report(logits, labels, classes=CLASSES)
    assert by_slice.interval.unit == "slice"
    assert by_slice.interval.units == 400
    assert by_slice.patients is None
    assert by_slice.by_patient is None
    assert by_slice.accuracy == report.accuracy
    assert np.diff(report.accuracy_ci95) > 1.2 * np.diff(by_slice.accuracy_ci95)


def test_a_patient_is_predicted_from_the_mean_of_its_logits(rows, report):
    logits, labels, patients = rows
    names = np.unique(patients)
    means = np.stack([logits[patients == name].mean(axis=0, dtype=np.float64) for name in names])
    truth = np.array([labels[patients == name][0] for name in names])
    expected = classification_report(means, truth, classes=CLASSES, patients=names)
    by_patient = report.by_patient
    assert (by_patient.predictions, by_patient.patients) == (50, 50)
    assert by_patient.confusion_matrix == expected.confusion_matrix
    assert by_patient.accuracy_ci95 == expected.accuracy_ci95
    assert by_patient.log_loss == pytest.approx(expected.log_loss)


def test_one_sure_slice_outweighs_two_unsure_slices_of_its_patient():
    logits = [[6.0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 3, 0]]
    report = classification_report(logits, np.array([0, 0, 0, 1]), classes=CLASSES, patients=["a", "a", "a", "b"])
    assert report.accuracy == 0.5
    assert report.by_patient.accuracy == 1


def test_an_id_with_two_classes_counts_once_for_each():
    labels = np.array([0, 0, 1, 2])
    report = classification_report(3 * np.eye(3)[labels], labels, classes=CLASSES, patients=["a", "a", "a", "b"])
    assert report.patients == 2
    assert report.by_patient.patients == 2
    assert report.by_patient.predictions == 3
    assert report.by_patient.interval.units == 2
    assert report.by_patient.confusion_matrix == ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def test_a_class_without_rows_is_undefined_not_zero():
    labels = np.array([0, 1] * 10)
    logits = 2.0 * np.eye(3)[labels]
    logits[0] = [0, 0, 5]
    report = classification_report(logits, labels, classes=CLASSES)
    absent = report.per_class["pituitary"]
    assert absent.support == 0
    assert absent.specificity == 0.95
    for metric in ("precision", "recall", "f1", "roc_auc"):
        assert getattr(absent, metric) is None
        assert getattr(absent, f"{metric}_ci95") is None
    for name in ("macro_precision", "macro_recall", "macro_f1", "roc_auc"):
        assert getattr(report, name) is None
        assert getattr(report, f"{name}_ci95") is None
    assert report.accuracy == 0.95
    assert report.per_class["glioma"].roc_auc is not None
    assert read_back(report) == report


def test_a_class_never_predicted_has_no_precision_but_an_f1_of_zero():
    labels = np.array([0, 1, 2] * 10)
    report = classification_report(np.tile([1.0, 0.0, 0.0], (30, 1)), labels, classes=CLASSES)
    glioma = report.per_class["glioma"]
    assert glioma.precision is None
    assert glioma.recall == 0
    assert glioma.f1 == 0
    assert glioma.roc_auc == 0.5
    assert report.macro_precision is None
    assert report.macro_recall == pytest.approx(1 / 3)


def test_a_class_of_one_row_has_no_interval():
    labels = np.array([0] * 10 + [1] * 10 + [2])
    report = classification_report(np.eye(3)[labels], labels, classes=CLASSES)
    assert report.per_class["pituitary"].recall == 1
    assert report.per_class["pituitary"].recall_ci95 is None
    assert report.macro_recall_ci95 is None
    assert report.accuracy_ci95 == pytest.approx((0.025 ** (1 / 21), 1))


def test_one_patient_alone_has_no_interval():
    labels = np.array([0, 1, 2])
    report = classification_report(np.eye(3), labels, classes=CLASSES, patients=["a", "a", "a"])
    assert report.accuracy == 1
    assert report.accuracy_ci95 is None


def test_logits_too_large_for_distinct_probabilities_are_still_ranked():
    """Probabilities of both rows round to 1; their odds do not."""
    logits = np.array([[50.0, 0.0], [60.0, 0.0]])
    assert softmax(logits, axis=1)[0, 0] == softmax(logits, axis=1)[1, 0] == 1
    report = classification_report(logits, np.array([1, 0]), classes=("no", "yes"))
    assert report.roc_auc == 1
    assert report.log_loss == pytest.approx(25)


@pytest.mark.parametrize(
    ("logits", "labels", "patients", "message"),
    [
        ([[0.0, np.nan, 0], [0, 0, 0]], [0, 1], None, "1 of 2 rows"),
        ([[np.inf, 0, 0]], [0], None, "finite"),
        (np.zeros((0, 3)), np.zeros(0, int), None, "at least 1"),
        (np.zeros((2, 2)), [0, 1], None, "shape"),
        (np.zeros((2, 3)), [0, 3], None, r"\[0, 3\)"),
        (np.zeros((2, 3)), [-1, 0], None, r"\[0, 3\)"),
        (np.zeros((2, 3)), [0.0, 1.0], None, "integers"),
        (np.zeros((2, 3)), [0], None, "integers"),
        (np.zeros((2, 3)), [0, 1], ["a"], "patients"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused(logits, labels, patients, message):
    with pytest.raises(ValueError, match=message):
        classification_report(np.asarray(logits), np.asarray(labels), classes=CLASSES, patients=patients)


def test_the_interval_of_a_perfect_calibration_holds_it():
    """The class frequencies are calibrated exactly; their equal confidences share one bin."""
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    report = classification_report(np.log(np.tile([1.0, 2, 3], (60, 1))), labels, classes=CLASSES)
    assert report.expected_calibration_error == pytest.approx(0, abs=1e-12)
    low, high = report.expected_calibration_error_ci95
    assert low == 0 and 0 < high < 0.2


def test_class_names_must_differ():
    with pytest.raises(ValueError, match="must differ"):
        classification_report(np.zeros((2, 2)), np.array([0, 1]), classes=("a", "a"))
