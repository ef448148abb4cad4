"""The audit catches a leaked split, shuffled labels and a painted border, and says nothing of clean data."""

import dataclasses

import numpy as np
import pytest

from btjax.data.phantom import make_phantom
from btjax.data.splits import make_split
from btjax.evaluation.baselines import fitted_linear, linear_model
from btjax.evaluation.shortcuts import border_pixels
from btjax.studies.audit import FloorModels, Outcome, audit

FOLDS = 3


@pytest.fixture(scope="module")
def slices():
    return make_phantom(patients_per_class=12, slices_per_patient=4, image_size=48)


def splits_of(slices, protocol):
    return [make_split(slices, protocol, fold, FOLDS) for fold in range(FOLDS)]


def skilled(slices, split, share=0.95, seed=0):
    """Logits [T, 3] of a model that recognises a share of the test rows, whatever surrounds the tumour."""
    random = np.random.default_rng([seed, split.fold])
    labels = slices.labels[split.test]
    wrong = random.random(len(labels)) > share
    said = np.where(wrong, (labels + random.integers(1, 3, len(labels))) % 3, labels)
    return 3 * np.eye(3)[said] + random.normal(0, 0.3, (len(labels), 3))


def names(found):
    return {flag.name for flag in found.flags}


def painted(slices):
    """The slices with a border whose brightness is the class's, but for a little noise."""
    images, random = slices.images.copy(), np.random.default_rng(0)
    frame = np.ones(images.shape[1:], bool)
    frame[3:-3, 3:-3] = False
    for image, label in zip(images, slices.labels, strict=True):
        image[frame] = np.clip(40 + 60 * label + random.normal(0, 10, frame.sum()), 0, 255)
    return dataclasses.replace(slices, images=images)


@pytest.fixture(scope="module")
def clean(slices):
    return audit(slices, [Outcome(split, skilled(slices, split)) for split in splits_of(slices, "patient")], title="x")


def test_clean_data_raise_no_flag(clean):
    assert clean.flags == ()
    assert clean.rows == 3 * 12 * 4
    assert (clean.unit, clean.units) == ("family", 36)
    assert clean.leaks.copies == clean.leaks.families == 0
    assert clean.labels.mixed == 0


def test_a_split_that_leaks_patients_is_caught_with_its_counts(slices):
    splits = splits_of(slices, "slice")
    found = audit(slices, [Outcome(split, skilled(slices, split)) for split in splits])
    assert names(found) == {"leak"}
    (flag,) = found.flags
    expected = 0
    for split in splits:
        seen = set(slices.patients[np.concatenate([split.train, split.validation])])
        expected += sum(patient in seen for patient in slices.patients[split.test])
    assert flag.evidence["families"] == expected == found.leaks.patients
    assert f"{expected} of {found.rows} tested rows" in flag.sentence


def test_copies_in_training_are_caught(slices):
    split = splits_of(slices, "patient")[0]
    images = slices.images.copy()
    images[split.test[0]] = images[split.train[0]]
    found = audit(dataclasses.replace(slices, images=images), [Outcome(split, skilled(slices, split))])
    assert found.leaks.copies == 1
    assert "copies" in names(found)


def test_shuffled_labels_are_caught(slices):
    labels = np.random.default_rng(3).permutation(slices.labels)
    shuffled = dataclasses.replace(slices, labels=labels)
    tested = []
    for split in splits_of(slices, "slice"):
        rows = split.train, split.test
        logits = linear_model(slices.images[rows[0]], labels[rows[0]], slices.images[rows[1]], classes=3)
        tested.append(Outcome(split, logits))
    found = audit(shuffled, tested)
    sentences = [flag.sentence for flag in found.flags if flag.name == "labels"]
    assert len(sentences) == 2
    assert "no more" in sentences[0]
    assert "bear several classes" in sentences[1]
    assert found.labels.mixed > 30


def test_a_model_that_was_trained_on_permuted_labels_is_caught_and_the_data_are_not_blamed(slices):
    tested = []
    for split in splits_of(slices, "patient"):
        labels = np.random.default_rng(split.fold).permutation(slices.labels[split.train])
        tested.append(
            Outcome(split, linear_model(slices.images[split.train], labels, slices.images[split.test], classes=3))
        )
    found = audit(slices, tested)
    sentences = [flag.sentence for flag in found.flags if flag.name == "labels"]
    assert len(sentences) == 1
    assert "has learned nothing of the labels" in sentences[0]


def test_a_border_that_gives_the_class_away_is_caught(slices):
    changed = painted(slices)
    pixels, tested = border_pixels(changed.images), []
    for split in splits_of(changed, "patient"):
        labels = changed.labels[split.train]
        tested.append(Outcome(split, fitted_linear(pixels[split.train], labels, pixels[split.test], classes=3)))
    found = audit(changed, tested)
    assert {"border", "floor"} <= names(found)
    assert not {"labels", "leak", "copies"} & names(found)
    assert any("outer 5 pixels" in flag.sentence for flag in found.flags if flag.name == "floor")
    areas = {row.class_name: row.border.value for row in found.areas if (row.plane, row.source) == ("all", "all")}
    assert areas["meningioma"] > 0.99


def test_a_model_that_is_better_than_the_painted_border_is_still_told_of_it(slices):
    changed = painted(slices)
    found = audit(changed, [Outcome(split, skilled(changed, split, 1.0)) for split in splits_of(changed, "patient")])
    assert "border" in names(found)


@pytest.fixture(scope="module")
def confounded(slices):
    """Half of the gliomas have ids of another source, brighter slices, and are recognised better."""
    glioma, number = slices.labels == 1, np.array([int(patient[1:]) for patient in slices.patients])
    marked = glioma & (number % 2 == 0)
    patients = np.where(marked, np.char.add("MR", number.astype(str)), number.astype(str))
    images = np.where(marked[:, None, None], np.clip(slices.images.astype(int) + 25, 0, 255), slices.images)
    changed = dataclasses.replace(slices, patients=patients, images=images.astype(np.uint8))
    random, features, tested = np.random.default_rng(0), None, []
    for split in splits_of(changed, "patient"):
        logits = skilled(changed, split, 0.97)
        unmarked = glioma[split.test] & ~marked[split.test]
        logits[unmarked & (random.random(len(split.test)) < 0.6)] = [3, 0, 0]
        features = np.stack([marked + random.normal(0, 0.4, len(changed)), random.normal(size=len(changed))], axis=1)
        tested.append(Outcome(split, logits, features=features))
    return changed, marked, audit(changed, tested)


def test_a_source_that_has_one_class_alone_is_named_with_the_gap_in_recall(confounded):
    changed, marked, found = confounded
    by_name = {flag.name: flag for flag in found.flags}
    assert by_name["one_class_source"].evidence["slices"] == int(marked.sum())
    assert by_name["recall"].evidence["class"] == "glioma"
    recall = {row.value: row.recall["glioma"].value for row in found.groups if row.group == "source"}
    assert recall["MR"] > 0.9 > 0.6 > recall["numeric"]
    assert by_name["recall"].evidence["gap"] == pytest.approx(recall["MR"] - recall["numeric"])
    assert found.sources[0].slices == {"meningioma": 0, "glioma": int(marked.sum()), "pituitary": 0}
    assert found.sources[0].patients["glioma"] == len(np.unique(changed.patients[marked]))


def test_the_probe_tells_the_source_from_features_within_the_class(confounded):
    _, _, found = confounded
    within = {row.within: row.features for row in found.probes}
    assert set(within) == {"all", "glioma"}
    assert within["glioma"].value > 0.8
    assert "probe" in names(found)


def test_a_source_of_several_classes_is_measured_by_itself(confounded):
    _, _, found = confounded
    (row,) = found.alone
    assert row.source == "numeric"
    assert row.chance == pytest.approx(1 / 3)
    assert row.model.value == pytest.approx(np.mean([v.value for v in numeric(found).recall.values()]))


def numeric(found):
    return next(row for row in found.groups if (row.group, row.value) == ("source", "numeric"))


def test_what_is_not_known_is_left_out_with_its_reason(slices):
    bare = dataclasses.replace(slices, patients=None, planes=None, masks=None)
    split = make_split(bare, "slice", 0, FOLDS)
    found = audit(bare, [Outcome(split, skilled(bare, split))])
    assert set(found.left_out) == {"source", "plane", "size"}
    assert found.unit == "slice"
    assert {row.group for row in found.groups} == {"all"}
    assert found.leaks.families is None
    assert "leak" not in names(found)


def test_floors_are_fitted_once_for_a_split(slices, monkeypatch):
    models, split = FloorModels(slices), splits_of(slices, "patient")[0]
    first = models.logits(split)
    monkeypatch.setattr("btjax.studies.audit.fitted_linear", None)
    assert models.logits(split) is first


def test_logits_of_other_rows_are_refused(slices):
    split = splits_of(slices, "patient")[0]
    with pytest.raises(ValueError, match="one for each test row"):
        Outcome(split, np.zeros((3, 3)))
    with pytest.raises(ValueError, match="nothing was tested"):
        audit(slices, [])
