import dataclasses

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from btjax.base.errors import InputError
from btjax.data.splits import PROTOCOLS, Split, make_split, needs_links, share_tested
from btjax.readers.slices import Slices


def fake_slices(labels, patients=None, folds=None, **fields) -> Slices:
    count = len(labels)
    return Slices(
        images=np.zeros((count, 2, 2), np.uint8),
        labels=np.asarray(labels, np.int32),
        ids=np.arange(count).astype(str),
        sizes=np.full((count, 2), 2, np.int32),
        patients=None if patients is None else np.asarray(patients, str),
        folds=None if folds is None else np.asarray(folds, np.int32),
        **fields,
    )


FOLDED = tuple(protocol for protocol in PROTOCOLS if protocol != "given")
"""The protocols of several folds."""


@pytest.fixture(scope="module")
def cohort() -> Slices:
    """600 slices of 120 patients; every fourth patient has a second id with a letter, in another official fold.

    Linked groups are pairs of patients of one class. A fifth of the slices is the data set's own test side.
    """
    random = np.random.default_rng(0)
    numbers = np.repeat(np.arange(120), 5)
    letters = np.where((numbers % 4 == 0) & (random.random(600) < 0.5), "B", "")
    patients = np.array([f"MR{number:06d}{letter}" for number, letter in zip(numbers, letters, strict=True)])
    folds = (numbers + (letters == "B")) % 5 + 1
    sides = np.where(numbers % 5 == 0, "test", "train")
    return fake_slices(numbers % 3, patients, folds, sides=sides, links=(numbers % 60).astype(np.int32))


@pytest.mark.parametrize("protocol", FOLDED)
def test_every_row_is_held_out_in_exactly_one_fold(cohort, protocol):
    splits = [make_split(cohort, protocol, fold) for fold in range(5)]
    held_out = [split.test if protocol != "slice" else np.union1d(split.test, split.validation) for split in splits]
    assert np.array_equal(np.sort(np.concatenate(held_out)), np.arange(len(cohort)))


@pytest.mark.parametrize(("protocol", "groups"), [("patient", "patients"), ("family", "families"), ("linked", "links")])
def test_no_group_stands_on_two_sides(cohort, protocol, groups):
    split = make_split(cohort, protocol, fold=2, seed=3)
    sides = [set(getattr(cohort, groups)[rows]) for rows in split.sides().values()]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_official_folds_are_the_authors_and_report_divided_families(cohort):
    split = make_split(cohort, "official", fold=1)
    assert set(cohort.folds[split.test]) == {2}
    assert split.leaked_patients == 0
    families = cohort.families
    divided = {family for family in families[split.test]} & set(families[np.union1d(split.train, split.validation)])
    assert split.leaked_families >= len(divided) > 0


def test_the_given_protocol_keeps_the_data_sets_own_test_side(cohort):
    split = make_split(cohort, "given", seed=1)
    assert np.array_equal(split.test, np.flatnonzero(cohort.sides == "test"))
    held_out = len(split.validation) / np.sum(cohort.sides == "train")
    assert held_out == pytest.approx(1 / 8, abs=0.03)
    assert not set(cohort.families[split.validation]) & set(cohort.families[split.train])


def test_the_given_protocol_groups_validation_rows_by_links_where_patients_are_unknown(cohort):
    split = make_split(dataclasses.replace(cohort, patients=None), "given")
    assert not set(cohort.links[split.validation]) & set(cohort.links[split.train])
    with pytest.raises(InputError, match=r"links between slices are not known"):
        make_split(dataclasses.replace(cohort, patients=None, links=None), "given")


def test_the_given_protocol_keeps_a_validation_side(cohort):
    sides = np.array(["train", "validation", "test"])[np.arange(600) // 15 % 3]
    split = make_split(dataclasses.replace(cohort, sides=sides), "given")
    for side, rows in split.sides().items():
        assert set(sides[rows]) == {side}


def test_three_sides_of_a_data_set_need_neither_patients_nor_links(cohort):
    sides = np.array(["train", "validation", "test"])[np.arange(600) // 15 % 3]
    unknown = dataclasses.replace(cohort, sides=sides, patients=None, links=None)
    assert not needs_links(unknown, "given")
    assert needs_links(dataclasses.replace(cohort, patients=None), "given")
    assert set(sides[make_split(unknown, "given").validation]) == {"validation"}


def test_a_class_that_is_tested_but_not_trained_is_refused(cohort):
    sides = np.array(["train", "validation", "test"])[cohort.labels]
    with pytest.raises(InputError, match="no training slice is pituitary, as some test slices are"):
        make_split(dataclasses.replace(cohort, sides=sides), "given")


def test_a_data_set_with_training_and_validation_sides_is_tested_on_the_latter(cohort):
    sides = np.where(cohort.sides == "test", "validation", "train")
    split = make_split(dataclasses.replace(cohort, sides=sides), "given")
    assert set(sides[split.test]) == {"validation"}
    assert set(sides[split.validation]) == {"train"}


@pytest.mark.parametrize(
    ("sides", "fold", "words"),
    [(None, 0, "has no division of its own"), ("train", 0, "has train slices alone"), ("both", 1, "expected 0")],
)
def test_the_given_protocol_needs_two_sides(cohort, sides, fold, words):
    told = {"both": cohort.sides, "train": np.full(600, "train"), None: None}[sides]
    with pytest.raises(InputError, match=words):
        make_split(dataclasses.replace(cohort, sides=told), "given", fold)


def test_slice_protocol_counts_the_patients_it_leaks():
    split = make_split(fake_slices([0, 1, 2] * 20, [f"P{row // 3:02d}" for row in range(60)]), "slice")
    patients = [{row // 3 for row in rows} for rows in split.sides().values()]
    expected = {p for p in range(20) if sum(p in side for side in patients) > 1}
    assert split.leaked_patients == len(expected) > 0


def test_slice_protocol_has_the_papers_sizes_and_class_shares():
    labels = np.repeat([0, 1, 2], [708, 1426, 930])
    split = make_split(fake_slices(labels), "slice", seed=7)
    assert [len(rows) for rows in split.sides().values()] == [2452, 420, 192]
    for rows in split.sides().values():
        shares = np.bincount(labels[rows]) / len(rows)
        np.testing.assert_allclose(shares, [708 / 3064, 1426 / 3064, 930 / 3064], atol=2 / len(rows))
    assert split.leaked_patients is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_seed_gives_the_same_rows_and_another_seed_others(cohort, protocol):
    first, again = make_split(cohort, protocol, seed=1), make_split(cohort, protocol, seed=1)
    other = make_split(cohort, protocol, seed=2)
    for side, rows in first.sides().items():
        assert np.array_equal(rows, again.sides()[side])
    assert not np.array_equal(first.validation, other.validation)


@hypothesis.given(
    labels=st.lists(st.integers(0, 2), min_size=30, max_size=200).filter(lambda labels: len(set(labels)) > 1),
    seed=st.integers(0, 99),
    fold=st.integers(0, 2),
)
@hypothesis.settings(deadline=None, max_examples=40)
def test_slice_split_covers_every_row_once_whatever_the_labels(labels, seed, fold):
    split = make_split(fake_slices(labels), "slice", fold, 3, seed)
    rows = np.concatenate(list(split.sides().values()))
    assert np.array_equal(np.sort(rows), np.arange(len(labels)))
    assert min(map(len, split.sides().values())) > 0


def test_a_split_that_leaks_cannot_be_built():
    rows = [np.array([0, 3]), np.array([1]), np.array([2])]
    one, other = np.array(["A", "B", "A", "C"]), np.array(["A", "B", "D", "C"])
    with pytest.raises(ValueError, match="protocol patient with 1 groups"):
        Split("patient", 0, 5, 0, *rows, patients=one, families=one)
    with pytest.raises(ValueError, match="protocol official with 1 groups"):
        Split("official", 0, 5, 0, *rows, patients=one, families=one)
    with pytest.raises(ValueError, match="protocol family with 1 groups"):
        Split("family", 0, 5, 0, *rows, patients=other, families=one)
    assert Split("patient", 0, 5, 0, *rows, patients=other, families=one).leaked_families == 1
    assert Split("slice", 0, 5, 0, *rows, patients=one, families=one).leaked_patients == 1
    with pytest.raises(ValueError, match="every row exactly once"):
        Split("slice", 0, 5, 0, np.array([0, 1]), np.array([1]), np.array([2]), None, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(protocol="subject"), "--protocol=subject"),
        (dict(protocol="patient", folds=100), "has [0-9]+ groups, expected at least 100"),
        (dict(protocol="patient", fold=5), "--fold=5"),
        (dict(protocol="official", folds=4), "authors made 5 folds"),
    ],
)
def test_an_impossible_split_is_one_clear_line(cohort, arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        make_split(cohort, **arguments)
    assert "\n" not in str(caught.value)


def test_one_class_alone_cannot_be_split():
    with pytest.raises(InputError, match="slices of glioma alone"):
        make_split(fake_slices([1] * 40), "slice")


def test_errors_name_the_data_sets_own_classes():
    classes = ("astrocytoma", "ependymoma")
    with pytest.raises(InputError, match="slices of ependymoma alone"):
        make_split(fake_slices([1] * 40, classes=classes), "slice")
    few = fake_slices([0] * 30 + [1] * 10, [*range(30), *[30] * 10], classes=classes)
    with pytest.raises(InputError, match="class ependymoma has 1 groups"):
        make_split(few, "patient")


def test_any_number_of_classes_is_split_by_their_shares():
    labels = np.repeat([0, 1, 2, 3, 4], [100, 50, 20, 20, 10])
    split = make_split(fake_slices(labels, classes=tuple("abcde")), "slice")
    assert np.bincount(labels[split.train]).tolist() == [80, 40, 16, 16, 8]


def test_slices_without_labels_cannot_be_split():
    slices = dataclasses.replace(fake_slices([0, 1] * 20), labels=None)
    with pytest.raises(InputError, match="labels are not known") as caught:
        make_split(slices, "slice")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", FOLDED)
def test_the_share_tested_is_what_all_folds_test(cohort, protocol):
    tested = [make_split(cohort, protocol, fold).test for fold in range(5)]
    rows = np.concatenate(tested)
    assert share_tested(protocol, len(cohort), 5) == (len(rows), len(cohort))
    assert len(np.unique(rows)) == len(rows)


def test_the_papers_five_folds_test_960_of_3064():
    assert share_tested("slice", 3064, 5) == (960, 3064)


def test_protocols_that_need_ids_say_so_where_there_are_none():
    slices = fake_slices([0, 1, 2] * 20)
    for protocol in ("patient", "family", "official"):
        with pytest.raises(InputError, match="no patient ids"):
            make_split(slices, protocol)
    with pytest.raises(InputError, match="no cvind folds"):
        make_split(fake_slices([0, 1, 2] * 20, np.arange(60)), "official")


@pytest.mark.real
def test_real_manifest_splits_as_published(real_slices_dir):
    import csv

    with open(real_slices_dir / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    slices = fake_slices(
        [int(row["label"]) - 1 for row in rows], [row["pid"] for row in rows], [int(row["author_fold"]) for row in rows]
    )
    assert (len(np.unique(slices.patients)), len(np.unique(slices.families))) == (233, 209)
    sizes = [len(make_split(slices, "official", fold).test) for fold in range(5)]
    assert sizes == [570, 655, 562, 613, 664]
    assert [len(side) for side in make_split(slices, "slice").sides().values()] == [2452, 420, 192]


@pytest.mark.parametrize("protocol", FOLDED)
def test_refitting_trains_on_the_validation_rows_and_tests_the_same(cohort, protocol):
    split, refitted = make_split(cohort, protocol, 1), make_split(cohort, protocol, 1, refit=True)
    assert np.array_equal(refitted.train, np.union1d(split.train, split.validation))
    assert len(refitted.validation) == 0
    assert np.array_equal(refitted.test, split.test)


@pytest.mark.parametrize("protocol", FOLDED)
def test_a_smaller_training_side_keeps_the_shares_of_the_classes_and_the_other_sides(cohort, protocol):
    whole, part = make_split(cohort, protocol, 1), make_split(cohort, protocol, 1, train_slices=150)
    assert len(part.train) == 150
    assert np.array_equal(np.union1d(part.train, part.unused), whole.train)
    assert np.array_equal(part.test, whole.test)
    assert np.array_equal(part.validation, whole.validation)
    shares = [np.bincount(cohort.labels[split.train], minlength=3) / len(split.train) for split in (whole, part)]
    assert np.allclose(*shares, atol=0.02)


def test_more_training_slices_than_there_are_are_refused(cohort):
    with pytest.raises(InputError, match=r"--train_slices=600: the training side has \d+ slices"):
        make_split(cohort, "patient", train_slices=600)


def test_authors_folds_that_divide_a_patient_are_refused():
    slices = fake_slices([0, 1, 2] * 20, np.arange(60) // 2, np.arange(60) % 5 + 1)
    with pytest.raises(InputError, match="--protocol=official: patient 0 has slices in fold 1 and in another"):
        make_split(slices, "official")
