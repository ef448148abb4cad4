"""How classes are spelt, and slices with classes of any names."""

import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from btjax.base.errors import InputError
from btjax.readers.classes import CLASSES, class_name, classes_within, is_number, label_of, order_classes
from btjax.readers.slices import Slices


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("meningioma", ("meningioma", "Meningioma", "MENINGIOMA_TUMOR", "meningioma-tumours", "1", " 1 ")),
        ("glioma", ("glioma", "glioma_tumor", "Glioma Tumour", "gliomatumor", "2")),
        ("pituitary", ("pituitary", "PituitaryTumor", "pituitary tumour", "pituitary_tumors", "3")),
        ("no_tumor", ("notumor", "no_tumor", "no-tumor", "no tumor", "NoTumour", "no", "Normal", "healthy", "none")),
        ("astrocytoma", ("astrocytoma", "Astrocytoma", " astrocytoma_")),
        ("grade_2_glioma", ("Grade 2 Glioma", "grade-2 - glioma")),
        ("t1c+", ("T1C+",)),
    ],
)
def test_every_spelling_becomes_one(name, texts):
    assert {class_name(text) for text in texts} == {name}


@pytest.mark.parametrize("text", ["", " ", "_-_", "0", "4", "-1", "1.0", "_1_", "1e0", "17"])
def test_what_names_no_class_is_refused_with_its_place(text):
    with pytest.raises(InputError, match=r"somewhere: .* names no class, expected meningioma") as caught:
        class_name(text, "somewhere")
    assert "\n" not in str(caught.value)


@given(st.text(string.ascii_letters + " _-", min_size=1).filter(lambda text: text.strip(" _-")))
def test_a_name_that_was_normalised_stays_as_it_is(text):
    assert class_name(class_name(text)) == class_name(text)


@given(st.sets(st.sampled_from([*CLASSES, "no_tumor", "astrocytoma", "zebra"])))
def test_the_papers_classes_come_first_in_its_order_and_others_by_alphabet(names):
    ordered = order_classes(names)
    assert set(ordered) == names and len(ordered) == len(names)
    assert [name for name in ordered if name in CLASSES] == [name for name in CLASSES if name in names]
    assert list(ordered[len(names & set(CLASSES)) :]) == sorted(names - set(CLASSES))


def test_known_classes_are_found_within_longer_names():
    assert classes_within("Glioma_vs_NoTumor") == {"glioma", "no_tumor"}
    assert classes_within("meningioma glioma pituitary") == set(CLASSES)
    assert classes_within("meningioma_tumor") == {"meningioma"}
    assert classes_within("astrocytoma") == set()


@given(st.floats())
def test_numbers_as_text_are_numbers(value):
    assert is_number(str(value)) == np.isfinite(value)


@pytest.mark.parametrize(("value", "label"), [(1, 0), ("2", 1), (3.0, 2), ("1.0", 0)])
def test_figshares_labels_count_from_one(value, label):
    assert label_of(value, "file") == label


@pytest.mark.parametrize("value", [0, 4, "x", None, float("nan"), 1.5])
def test_another_label_is_refused(value):
    with pytest.raises(InputError, match=r"file: found label .*, expected 1 \(meningioma\)"):
        label_of(value, "file")


def make_slices(labels, **changes) -> Slices:
    arrays = {
        "images": np.arange(3 * 4, dtype=np.uint8).reshape(3, 2, 2),
        "labels": labels,
        "ids": np.array(["a", "b", "c"]),
        "sizes": np.full((3, 2), 2, np.int32),
    }
    return Slices(**(arrays | changes))


def test_slices_keep_their_classes_when_some_are_taken():
    slices = make_slices(np.array([0, 3, 1], np.int32), classes=("a", "b", "c", "d"))
    taken = slices.take(np.array([2, 1]))
    assert taken.classes == slices.classes
    assert taken.labels.tolist() == [1, 3]
    assert "classes" not in slices.fields()
    assert make_slices(None).classes == CLASSES


def test_slices_without_labels_can_be_taken():
    taken = make_slices(None).take(np.array([1]))
    assert taken.labels is None
    assert set(taken.fields()) == {"images", "ids", "sizes"}


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (np.array([0, 1, 3], np.int32), CLASSES, "must be 0 to 2, found 0 to 3"),
        (np.array([0, -1, 1], np.int32), CLASSES, "must be 0 to 2, found -1 to 1"),
        (np.array([0, 1, 2]), CLASSES, "int32"),
        (np.zeros((3, 1), np.int32), CLASSES, "int32"),
        (None, ("a", "a"), "different names"),
        (None, (), "different names"),
    ],
)
def test_labels_that_do_not_index_the_classes_are_a_mistake(labels, classes, message):
    with pytest.raises(ValueError, match=message):
        make_slices(labels, classes=classes)
