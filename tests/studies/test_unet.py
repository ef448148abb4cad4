from types import SimpleNamespace

import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.studies.unet import figure_rows


def slices_of(*labels):
    return SimpleNamespace(labels=np.array(labels), classes=("meningioma", "glioma", "pituitary"))


@pytest.mark.parametrize(
    ("labels", "first", "second"),
    [
        ((0, 1, 2, 0, 1, 2), [0, 1, 2], [3, 4, 5]),
        ((2, 2, 1, 0, 0), [3, 2, 0], [4, 2, 1]),  # one glioma
        ((2, 2, 1), [2, 0], [2, 1]),  # no meningioma
    ],
)
def test_the_figures_show_two_test_slices_of_each_class_or_what_there_is(labels, first, second):
    assert [rows.tolist() for rows in figure_rows(slices_of(*labels))] == [first, second]


@pytest.mark.parametrize("labels", [(), (1, 1, 1)])
def test_test_slices_of_one_class_alone_are_refused(labels):
    with pytest.raises(InputError, match=r"test slices of two classes, found \d among"):
        figure_rows(slices_of(*labels))
