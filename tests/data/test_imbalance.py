"""Classes of different size are told in one line."""

import dataclasses

import numpy as np
import pytest

from btjax.data.imbalance import imbalance
from btjax.readers.slices import Slices


def slices_of(*counts: int, classes=("meningioma", "glioma", "pituitary")) -> Slices:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    count = len(labels)
    ids = np.arange(count).astype(str)
    return Slices(np.zeros((count, 1, 1), np.uint8), labels, ids, np.ones((count, 2), np.int32), classes=classes)


def test_the_published_set_is_told_with_its_counts_and_what_helps():
    assert imbalance(slices_of(708, 1426, 930)) == (
        "classes: 708 meningioma, 1426 glioma, 930 pituitary: the largest is 2.0 times the smallest; "
        "--class_weights=balanced weighs them equally"
    )


@pytest.mark.parametrize(("counts", "told"), [((10, 15, 12), False), ((10, 16, 12), True), ((5, 5, 5), False)])
def test_one_and_a_half_times_is_the_bound(counts, told):
    assert (imbalance(slices_of(*counts)) is not None) == told


def test_what_no_weight_can_help_is_not_compared():
    assert imbalance(slices_of(4, 0, 4)) is None
    assert imbalance(slices_of(4, 0, 0)) is None
    assert "0 glioma" in str(imbalance(slices_of(4, 0, 8)))
    assert imbalance(dataclasses.replace(slices_of(1, 9, 9), labels=None)) is None
