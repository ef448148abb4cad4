"""The page of a classifier holds the report's numbers, and report.html follows from the run."""

import dataclasses
import json
import re
import xml.etree.ElementTree

import numpy as np
import pytest

from btjax.evaluation import published
from btjax.evaluation.baselines import class_prior
from btjax.evaluation.calibration import reliability, temperature_report
from btjax.evaluation.classification import classification_report
from btjax.evaluation.conformal import conformal_report
from btjax.evaluation.labelled import Labelled
from btjax.evaluation.metrics import CLASS_METRICS
from btjax.evaluation.selective import selective_report
from btjax.readers.slices import Slices
from btjax.reports.classifier import (
    classifier_figures,
    classifier_page,
    protocol_sentences,
    write_classifier_report,
)
from btjax.reports.numbers import UNDEFINED, percent
from btjax.runs.folder import RunFolder
from btjax.runs.report import (
    SCHEMA,
    CheckpointInfo,
    ClassifierReport,
    Count,
    DataInfo,
    SplitInfo,
    TrainingInfo,
    read_report,
)
from tests.reports.parser import Page

CLASSES = ("meningioma", "glioma", "pituitary")
HISTORY = [{"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 1.0, "validation_accuracy": 0.5}]
SPLIT = SplitInfo(fold=0, folds=5, seed=3, leaked_patients=81, leaked_families=80, fingerprint="0123456789abcdef")


def scored(classes: tuple[str, ...], rows: int = 192) -> dict:
    """Scores of a classifier of some classes that is right most of the time, and of its baseline."""
    random = np.random.default_rng(5)
    patients = random.integers(40, size=rows)
    labels = random.integers(len(classes), size=40)[patients]
    logits = 2.5 * np.eye(len(classes))[labels] + random.normal(size=(rows, len(classes)))
    names = np.array([f"MR{patient}" for patient in patients])
    about = {"classes": classes, "patients": names}
    test = classification_report(logits, labels, **about)
    prior = classification_report(class_prior(labels, rows, classes=len(classes)), labels, **about)
    one = Labelled(logits, labels, names)
    trust = {
        "reliability": reliability(one.probabilities, labels),
        "reliability_by_patient": reliability(one.by_patient().probabilities, one.by_patient().labels),
        "temperature": temperature_report(one, one),
        "conformal": conformal_report(one, one, classes=classes),
        "selective": selective_report(one),
    }
    sides = {"test": test, "validation": test, "held_out": test, "baselines": {"class_prior": prior}}
    return {"classes": classes} | sides | trust


def make_report(classes: tuple[str, ...] = CLASSES, **changes) -> ClassifierReport:
    values = {
        "schema": SCHEMA,
        "task": "classification",
        "system": "cnn",
        "title": "Custom CNN",
        "protocol": "slice",
        "split": SPLIT,
        "counts": {"train": Count(2452, 233), "validation": Count(420, None), "test": Count(192, 40)},
        "data": DataInfo("class folders", "/data/kaggle", synthetic=False),
        "checkpoint": CheckpointInfo(12, 924, "validation_loss"),
        "training": TrainingInfo(20, 3723.0, "1 x cpu"),
        "config": {"model": {"widths": [64, 256], "dropout": 0.1}, "batch_size": 32},
        "versions": {"jax": "0.10.2"},
    }
    return ClassifierReport(**values | scored(classes) | changes)


@pytest.fixture(scope="module")
def report():
    return make_report()


def slices_of(rows: int) -> Slices:
    sizes, ids = np.full((rows, 2), 8, np.int32), np.array([f"s{row}" for row in range(rows)])
    return Slices(np.zeros((rows, 8, 8), np.uint8), np.arange(rows, dtype=np.int32) % 3, ids, sizes)


@pytest.fixture(scope="module")
def figures(report):
    return classifier_figures(report, slices_of(3), np.tile([0.0, 1.0, 0.0], (3, 1)), HISTORY)


@pytest.fixture(scope="module")
def text(report, figures):
    return classifier_page(report, figures, published.RESULTS["cnn"])


def bare(report: ClassifierReport) -> Page:
    """The page without figures and without the paper."""
    return Page(classifier_page(report, {}))


def test_the_headline_has_the_accuracy_its_interval_and_the_protocol(text, report):
    words = Page(text).words()
    low, high = report.test.accuracy_ci95
    assert f"{report.test.accuracy:.1%} test accuracy 95% interval {100 * low:.1f} to {100 * high:.1f}%" in words
    assert "by patient" in words
    assert "Slices were divided at random, as in the paper" in words
    assert "81 patients (80 families) have slices on more than one side of the split" in words
    assert "for research, not for diagnosis" in words
    assert "Synthetic data" not in words


def test_every_table_holds_the_reports_numbers(text, report):
    rows = Page(text).rows
    assert ["Train", "2452", "233"] in rows
    assert ["Validation", "420", "not known"] in rows
    for name in CLASSES:
        scores = report.test.per_class[name]
        row = next(row for row in rows if row[0] == name.capitalize())
        assert row[1] == str(scores.support)
        for cell, metric in zip(row[2:7], CLASS_METRICS, strict=True):
            low, high = getattr(scores, f"{metric}_ci95")
            assert cell == f"{percent(getattr(scores, metric))} {percent(low)[:-1]} to {percent(high)[:-1]}"
    by_patient = next(row for row in rows if row[0].startswith("Test, by patient"))
    assert by_patient[0].endswith("40 patients")
    assert by_patient[1].startswith(percent(report.test.by_patient.accuracy))
    prior = next(row for row in rows if row[0].startswith("Class frequencies"))
    assert prior[1].startswith(percent(report.baselines["class_prior"].accuracy))
    test = next(row for row in rows if row[0] == "Test 192 slices")
    error, (low, high) = report.test.expected_calibration_error, report.test.expected_calibration_error_ci95
    assert test[-1] == f"{percent(error)} {percent(low, sign='')} to {percent(high, sign='')}"


def test_the_papers_table_stands_beside_ours_by_class_name(text):
    rows = Page(text).rows
    paper = {row[0]: row[7:] for row in rows if row[0] in ("Meningioma", "Glioma", "Pituitary", "Mean of classes")}
    assert paper == {
        "Meningioma": ["86%", "86%", "86%"],
        "Glioma": ["93%", "93%", "93%"],
        "Pituitary": ["100%", "100%", "100%"],
        "Mean of classes": ["93%", "93%", "93%"],
    }
    assert any(row[0] == "Paper, Figure 16 32 slices" and row[1] == "93.8% 79.2 to 99.2" for row in rows)


def test_the_run_the_config_and_the_versions_are_told(text):
    words = Page(text).words()
    for expected in (
        "Checkpoint epoch 12, step 924",
        "Chosen by validation loss",
        "Training time 1 h 2 min",
        "Device 1 x cpu",
        "model.widths 64, 256",
        "batch_size 32",
        "jax 0.10.2",
        "Split seed 3.",
    ):
        assert expected in words
    assert "Head" not in words


def test_the_page_needs_nothing_beside_itself(text):
    for _, attributes in Page(text).tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(name, "data:").startswith("data:")
    assert not re.search(r"https?:|@import|url\(|<script|<link", text)


def test_images_have_alternative_texts_and_tables_have_scoped_headers(text, report):
    page = Page(text)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 7
    assert all(attributes["alt"] for attributes in images)
    hits = report.test.confusion_matrix[1][1]
    assert any(f"{hits} as glioma" in attributes["alt"] for attributes in images)
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags


def test_no_text_is_trusted(report, figures):
    evil = "<script>alert('x')</script>"
    hostile = make_report(
        (evil, "glioma", "pituitary"),
        system=evil,
        title=evil,
        protocol=evil,
        data=DataInfo(evil, evil, synthetic=False),
        checkpoint=CheckpointInfo(1, None, evil),
        training=TrainingInfo(1, 2.0, evil, features=evil, head=evil, setting=0.5),
        config={evil: {evil: evil}},
        versions={evil: evil},
        counts={evil: Count(1, 2)},
    )
    text = classifier_page(hostile, {**figures, evil: figures["curves"]})
    page = Page(text)
    assert all(tag != "script" for tag, _ in page.tags)
    assert page.words().count(evil) >= 12


@pytest.mark.parametrize("size", [2, 10])
def test_any_number_of_classes_has_its_page(size):
    classes = tuple(f"DNET type {index}" for index in range(size))
    report = make_report(classes)
    labels = np.arange(size, dtype=np.int32)
    tested = dataclasses.replace(slices_of(size), labels=labels, classes=classes)
    figures = classifier_figures(report, tested, np.eye(size)[::-1], HISTORY)
    page = Page(classifier_page(report, figures))
    named = [row for row in page.rows if row[0] in classes]
    assert [row[0] for row in named] == list(classes)
    assert all(len(row) == 7 for row in named)


def test_undefined_values_are_dashes(report):
    labels = np.array([0, 1] * 10)
    test = classification_report(2 * np.eye(3)[labels], labels, classes=CLASSES)
    rows = bare(dataclasses.replace(report, test=test)).rows
    row = next(row for row in rows if row[0] == "Pituitary")
    assert row[1:4] == ["0", UNDEFINED, UNDEFINED] and row[5:7] == [UNDEFINED, UNDEFINED]
    assert next(row for row in rows if row[0] == "Mean of classes")[2:4] == [UNDEFINED] * 2


def test_a_class_of_few_patients_explains_the_missing_intervals(report):
    labels = np.array([0] * 10 + [1] * 10 + [2])
    test = classification_report(2 * np.eye(3)[labels], labels, classes=CLASSES)
    assert "fewer than two slices show one of the classes" in bare(dataclasses.replace(report, test=test)).words()
    assert "fewer than two slices show one of the classes" not in bare(report).words()


def test_the_page_tells_calibration_sets_and_abstaining(text, report):
    page = Page(text)
    words = page.words()
    assert f"validation slices best is {report.temperature.value:.2f}" in words
    assert f"{percent(report.selective.accuracy)} (" in words
    for one in report.conformal:
        row = next(row for row in page.rows if row[0] == percent(one.level))
        assert row[1].startswith(percent(one.coverage)) and row[2] == percent(one.coverage_by_patient)
        assert row[-3] == f"{one.mean_size:.2f}"
    slope = report.test.calibration_slope
    assert any(row[0] == "Test" and row[4:5] and row[4].startswith(f"{slope:.3f}") for row in page.rows)


def test_a_refit_run_has_no_temperature_and_no_sets(report):
    words = bare(dataclasses.replace(report, temperature=None, conformal=(), validation=None, held_out=None)).words()
    assert "validation slices best" not in words and "Conformal" not in words
    assert "of which it is surest" in words


def test_intervals_without_patient_ids_carry_a_caution(report):
    caution = "These data carry no patient ids"
    labels = np.arange(30) % 3
    test = classification_report(np.eye(3)[labels], labels, classes=CLASSES)
    assert caution in bare(dataclasses.replace(report, test=test)).words()
    assert caution not in bare(report).words()


def test_phantom_results_say_that_they_are_synthetic(report):
    words = bare(dataclasses.replace(report, data=DataInfo("x", "phantom", synthetic=True))).words()
    assert "Synthetic data." in words


def test_without_the_papers_result_there_are_no_columns_for_it(report):
    assert "Paper" not in bare(report).words()


@pytest.mark.parametrize(
    ("protocol", "patients", "families", "expected"),
    [
        ("patient", 0, 2, "2 families of ids are"),
        ("patient", 0, 1, "1 family of ids is"),
        ("family", 0, 0, "No patient is on two sides of the split."),
        ("slice", 1, 1, "1 patient (1 family) has slices"),
        ("slice", None, None, "is not known"),
        ("official", 0, 0, "Fold 2 of 5, counted from 0."),
        ("other", None, None, "The protocol is other."),
    ],
)
def test_the_protocol_is_told_in_words(protocol, patients, families, expected):
    split = dataclasses.replace(SPLIT, fold=2, leaked_patients=patients, leaked_families=families)
    assert expected in " ".join(protocol_sentences(protocol, split))


def test_bars_are_well_formed(text):
    bars = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(bars) == 8
    for bar in bars:
        for rectangle in xml.etree.ElementTree.fromstring(bar):
            left, width = float(rectangle.get("x")), float(rectangle.get("width"))
            assert 0 <= left <= left + width <= 163


@pytest.mark.parametrize(
    ("changes", "beside_paper"),
    [
        ({}, True),
        ({"data": DataInfo("x", "phantom", synthetic=True)}, False),
        (scored(("glioma", "meningioma", "no tumour")), False),
    ],
)
def test_a_runs_folder_gets_figures_page_and_report(tmp_path, report, changes, beside_paper):
    report = dataclasses.replace(report, **changes)
    folder = RunFolder(tmp_path)
    folder.write_text("metrics.jsonl", json.dumps(HISTORY[0]) + "\n")
    tested = dataclasses.replace(slices_of(6), classes=report.classes)
    write_classifier_report(folder, report, tested, 2 * np.eye(3)[[0, 1, 1, 0, 0, 1]])
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    matrices = {"confusion_test.png", "confusion_by_patient.png", "confusion_validation.png"}
    assert names == {"curves.png", "mistakes.png", "reliability.png", "risk_coverage.png", *matrices}
    assert read_report(tmp_path / "report.json") == report
    words = Page((tmp_path / "report.html").read_text(encoding="utf-8")).words()
    assert ("Paper, Figure 16" in words) == beside_paper
