"""The page holds the report's numbers, needs nothing beside itself, and trusts no text."""

import copy
import html.parser
import re
import xml.etree.ElementTree

import numpy as np
import pytest

from btjax.evaluation.baselines import class_prior
from btjax.evaluation.classification import classification_report
from btjax.figures.confusion import confusion_matrix
from btjax.figures.curves import training_curves
from btjax.figures.mistakes import worst_mistakes
from btjax.reports.classifier import UNDEFINED, data_uri, duration, flattened, percent, protocol_sentences, render_page

CLASSES = ("meningioma", "glioma", "pituitary")
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(html.parser.HTMLParser):
    """Collects tags, text and table rows, and fails on tags that do not nest."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.text, self.rows, self._open = [], [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" in self._open:
            return
        self.text.append(data)
        if "td" in self._open or ("th" in self._open and "tr" in self._open):
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data.strip()}".strip()

    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def report():
    random = np.random.default_rng(5)
    patients = random.integers(40, size=192)
    labels = random.integers(3, size=40)[patients]
    logits = 2.5 * np.eye(3)[labels] + random.normal(size=(192, 3))
    names = np.array([f"MR{patient}" for patient in patients])
    test = classification_report(logits, labels, classes=CLASSES, patients=names)
    prior = classification_report(class_prior(labels, 192), labels, classes=CLASSES, patients=names)
    return {
        "experiment": "cnn",
        "classes": list(CLASSES),
        "protocol": "slice",
        "split": {"fold": 0, "folds": 5, "seed": 3, "leaked_patients": 81, "leaked_families": 80},
        "counts": {
            "train": {"slices": 2452, "patients": 233},
            "validation": {"slices": 420, "patients": None},
            "test": {"slices": 192, "patients": 40},
        },
        "test": test,
        "validation": test,
        "baselines": {"class_prior": {"test": prior}},
        "checkpoint": {"epoch": 12, "step": 924, "criterion": "validation_loss"},
        "config": {"model": {"widths": [64, 256], "dropout": 0.1}, "batch_size": 32},
        "versions": {"jax": "0.10.2"},
        "training": {"epochs": 20, "seconds": 3723.0},
        "data": {"form": "class folders", "dir": "/data/kaggle"},
    }


@pytest.fixture(scope="module")
def figures(report):
    row = {"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 1.0, "validation_accuracy": 0.5}
    images = np.zeros((1, 8, 8), np.uint8)
    return {
        "curves": training_curves([row]),
        "confusion_test": confusion_matrix(report["test"]["confusion_matrix"], CLASSES),
        "mistakes": worst_mistakes(images, np.array([0]), np.array([[0.0, 1.0, 0.0]]), CLASSES),
    }


@pytest.fixture(scope="module")
def text(report, figures):
    return render_page(report, figures)


def test_the_headline_has_the_accuracy_its_interval_and_the_protocol(text, report):
    words = Page(text).words()
    low, high = report["test"]["accuracy_ci95"]
    assert f"{report['test']['accuracy']:.1%} test accuracy 95% interval {100 * low:.1f} to {100 * high:.1f}%" in words
    assert "Slices were divided at random, as in the paper" in words
    assert "81 patients (80 families) have slices on more than one side of the split" in words
    assert "for research, not for diagnosis" in words
    assert "Synthetic data" not in words


def test_every_table_holds_the_reports_numbers(text, report):
    rows = Page(text).rows
    assert ["Train", "2452", "233"] in rows
    assert ["Validation", "420", "not known"] in rows
    for name in CLASSES:
        scores = report["test"]["per_class"][name]
        row = next(row for row in rows if row[0] == name.capitalize())
        assert row[1] == str(scores["support"])
        for cell, metric in zip(row[2:6], ("precision", "recall", "f1", "roc_auc"), strict=True):
            low, high = scores[f"{metric}_ci95"]
            assert cell == f"{percent(scores[metric])} {percent(low)[:-1]} to {percent(high)[:-1]}"
    by_patient = next(row for row in rows if row[0].startswith("Test, by patient"))
    assert by_patient[0].endswith("40 patients")
    assert by_patient[1].startswith(percent(report["test"]["by_patient"]["accuracy"]))
    prior = next(row for row in rows if row[0].startswith("Class frequencies"))
    assert prior[1].startswith(percent(report["baselines"]["class_prior"]["test"]["accuracy"]))


def test_the_papers_table_stands_beside_ours_by_class_name(text):
    rows = Page(text).rows
    paper = {row[0]: row[6:] for row in rows if row[0] in ("Meningioma", "Glioma", "Pituitary", "Mean of classes")}
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
        "model.widths 64, 256",
        "batch_size 32",
        "jax 0.10.2",
        "Split seed 3.",
    ):
        assert expected in words


def test_the_page_needs_nothing_beside_itself(text):
    for _, attributes in Page(text).tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(name, "data:").startswith("data:")
    assert not re.search(r"https?:|@import|url\(|<script|<link", text)


def test_images_have_alternative_texts_and_tables_have_scoped_headers(text, report):
    page = Page(text)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 3
    assert all(attributes["alt"] for attributes in images)
    hits = report["test"]["confusion_matrix"][1][1]
    assert any(f"{hits} as glioma" in attributes["alt"] for attributes in images)
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags


def test_text_from_outside_is_escaped(report, figures):
    evil = '<script>alert("x")</script>&'
    hostile = copy.deepcopy(report)
    hostile.update(experiment=evil, protocol=evil, classes=[evil, "b", "c"])
    hostile["config"] = {evil: evil, "nested": {evil: [evil]}}
    hostile["versions"] = {evil: evil}
    hostile["data"] = {"form": evil, "dir": evil}
    hostile["counts"] = {evil: {"slices": 1, "patients": None}}
    hostile["checkpoint"] = {"epoch": evil, "step": evil, "criterion": evil}
    hostile["training"] = {evil: evil}
    hostile["baselines"] = {evil: {"test": report["test"]}}
    hostile["test"]["per_class"][evil] = hostile["test"]["per_class"].pop("glioma")
    page = Page(render_page(hostile, {**figures, evil: figures["curves"]}))
    assert all(tag != "script" for tag, _ in page.tags)
    assert page.words().count(evil) >= 12


def test_absent_keys_leave_their_sections_out(report):
    for key in report:
        Page(render_page({name: value for name, value in report.items() if name != key}))
    bare = Page(render_page({})).words()
    assert "for research, not for diagnosis" in bare
    assert "All results" not in bare
    assert "Configuration" not in bare


def test_undefined_values_are_dashes(report):
    labels = np.array([0, 1] * 10)
    test = classification_report(2 * np.eye(3)[labels], labels, classes=CLASSES)
    rows = Page(render_page({"experiment": "cnn", "classes": list(CLASSES), "test": test})).rows
    assert next(row for row in rows if row[0] == "Pituitary")[1:6] == ["0", UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED]
    assert next(row for row in rows if row[0] == "Mean of classes")[2:6] == [UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED]


def test_a_perfect_test_says_what_its_interval_cannot():
    labels = np.arange(30) % 3
    test = classification_report(9 * np.eye(3)[labels], labels, classes=CLASSES, patients=labels.astype(str))
    words = Page(render_page({"classes": list(CLASSES), "test": test})).words()
    # 0.05^(1/3) = 0.368
    assert "3 patients without a mistake say, at 95% confidence, that at least 36.8% of such patients have" in words


def test_intervals_without_patient_ids_carry_a_caution(report):
    caution = "These data carry no patient ids"
    labels = np.arange(30) % 3
    test = classification_report(np.eye(3)[labels], labels, classes=CLASSES)
    assert caution in Page(render_page({"test": test})).words()
    assert caution not in Page(render_page(report)).words()


def test_phantom_results_say_that_they_are_synthetic(report):
    words = Page(render_page({**report, "data": {"form": "x", "synthetic": True}})).words()
    assert "Synthetic data." in words


def test_another_experiment_has_no_paper_columns(report):
    words = Page(render_page({**report, "experiment": "other"})).words()
    assert "Paper" not in words


@pytest.mark.parametrize(
    ("protocol", "split", "expected"),
    [
        ("patient", {"leaked_patients": 0, "leaked_families": 2}, "2 families stand there"),
        ("patient", {"leaked_patients": 0, "leaked_families": 1}, "1 family stands there"),
        ("family", {"leaked_patients": 0, "leaked_families": 0}, "No patient stands on two sides of the split."),
        ("slice", {"leaked_patients": 1, "leaked_families": 1}, "1 patient (1 family) has slices"),
        ("slice", {"leaked_patients": None}, "is not known"),
        ("official", {"fold": 2, "folds": 5}, "Fold 2 of 5, counted from 0."),
    ],
)
def test_the_protocol_is_told_in_words(protocol, split, expected):
    assert expected in " ".join(protocol_sentences({"protocol": protocol, "split": split}))


def test_figures_with_images_are_png_and_others_svg(figures):
    assert data_uri(figures["mistakes"]).startswith("data:image/png;base64,iVBOR")
    assert data_uri(figures["curves"]).startswith("data:image/svg+xml;base64,")


def test_the_same_data_give_the_same_bytes():
    first, second = (data_uri(confusion_matrix(np.eye(3, dtype=int), CLASSES)) for _ in range(2))
    assert first == second


def test_percents_below_one_never_round_up_to_hundred():
    assert percent(1) == "100.0%"
    assert percent(0.99999) == "99.9%"
    assert percent(0.9994) == "99.9%"
    assert percent(None) == UNDEFINED


def test_nested_settings_become_dotted_names():
    assert flattened({"a": {"b": (1, 2), "c": None}, "d": {}}) == [("a.b", "1, 2"), ("a.c", UNDEFINED), ("d", "{}")]


def test_durations_are_told_in_their_unit():
    told = [duration(seconds) for seconds in (4.4, 59, 90, 3599, 3723)]
    assert told == ["4 s", "59 s", "2 min", "1 h 0 min", "1 h 2 min"]


def test_bars_are_well_formed(text):
    bars = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(bars) == 6
    for bar in bars:
        for rectangle in xml.etree.ElementTree.fromstring(bar):
            left, width = float(rectangle.get("x")), float(rectangle.get("width"))
            assert 0 <= left <= left + width <= 163
