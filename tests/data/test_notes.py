"""What is said of slices and splits."""

import dataclasses

import numpy as np

from btjax.data.notes import slices_notes, split_notes
from btjax.data.splits import make_split
from btjax.readers.slices import Slices


def make(rows: int = 60, **fields) -> Slices:
    """Slices of three classes with pixels of their own."""
    random = np.random.default_rng(0)
    known = {
        "images": random.integers(0, 256, (rows, 8, 8), np.uint8),
        "labels": (np.arange(rows) % 3).astype(np.int32),
        "ids": np.array([f"s{row:02d}" for row in range(rows)]),
        "sizes": np.full((rows, 2), 8, np.int32),
    }
    return Slices(**(known | fields))


def test_nothing_is_said_of_slices_that_agree():
    slices = make()
    assert slices_notes(slices) == ()
    assert split_notes(slices, make_split(slices, "slice")) == ()


def test_remarks_are_counted_by_kind():
    remarks = np.full(60, "", "<U40")
    remarks[[3, 5, 9]] = "colour map jet undone"
    remarks[5] = "colour map jet undone; turned upright"
    assert slices_notes(make(remarks=remarks)) == (
        "3 slices (s03, s05, ...): colour map jet undone",
        "1 slice (s05): turned upright",
    )


def test_copies_in_two_classes_and_patients_of_two_classes_are_named():
    slices = make(patients=np.array([f"p{row // 3}" if row < 3 else f"p{row}" for row in range(60)]))
    slices.images[7] = slices.images[0]
    (copies, patients) = slices_notes(slices)
    assert "2 slices (s00, s07)" in copies
    assert "1 patient (p0)" in patients


def test_test_slices_that_are_copies_of_training_slices_are_counted():
    slices = make()
    split = make_split(slices, "slice")
    slices.images[split.test[0]] = slices.images[split.train[0]]
    slices = dataclasses.replace(slices)
    (note,) = split_notes(slices, split)
    assert note.startswith(f"1 test slice ({slices.ids[split.test[0]]}) of {len(split.test)}: identical to")
    assert slices.ids[split.test[0]] in note
    assert split.copied(slices.digests).tolist() == [split.test[0]]


def test_a_division_of_the_data_set_that_is_dissolved_is_named():
    sides = np.where(np.arange(60) < 12, "test", "train")
    slices = make(sides=sides, patients=np.arange(60).astype(str))
    split = make_split(slices, "slice")
    (note,) = split_notes(slices, split)
    assert "12 test, 48 train" in note
    assert f"{np.sum(split.train < 12)} slices of its test side are trained on" in note
    assert "--protocol=given" in note
    assert split_notes(slices, make_split(slices, "given")) == ()
