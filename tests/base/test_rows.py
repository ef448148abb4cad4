import numpy as np
import pytest

from btjax.base import rows
from btjax.base.memory import machine_memory
from btjax.base.rows import LazyRows, parts, some_rows

WHOLE = np.arange(2100 * 6).reshape(2100, 2, 3)


@pytest.fixture
def lazy():
    return LazyRows(lambda rows: WHOLE[rows], WHOLE.shape, WHOLE.dtype)


@pytest.mark.parametrize(
    "index",
    [
        5,
        -1,
        np.int64(7),
        slice(3, 9),
        slice(None, None, 500),
        np.array([4, 4, 2000]),
        np.arange(2100) % 7 == 0,
        (np.array([3, 1]), slice(None), slice(None, None, -1)),
        (5, 1),
        (slice(0, 4), 0, 2),
        np.array([], int),
        (np.array([], int), slice(None), 1),
        (np.array([4, 0, 7]), np.array([1, 0, 1]), np.array([2, 2, 0])),
        (np.array([4, 0]), slice(None), np.array([2, 1])),
        (slice(3, 6), np.array([1, 0]), np.array([2, 1])),
        (2, np.array([1, 0]), np.array([2, 1])),
    ],
)
def test_rows_that_are_asked_for_are_those_of_the_whole_array(lazy, index):
    np.testing.assert_array_equal(lazy[index], WHOLE[index])


@pytest.mark.parametrize("index", [(..., 0), (2, slice(None), np.array([0])), (None, 1)])
def test_an_index_that_would_mean_something_else_than_in_numpy_is_refused(lazy, index):
    with pytest.raises(IndexError, match="expected"):
        lazy[index]


def test_row_numbers_of_several_dimensions_are_refused(lazy):
    with pytest.raises(IndexError, match="expected one row or rows in one dimension"):
        lazy[np.array([[1, 2]])]


def test_a_subset_a_map_and_all_rows_are_those_of_the_whole_array(lazy):
    assert lazy.shape == WHOLE.shape and lazy.ndim == 3 and len(lazy) == 2100 and lazy.dtype == WHOLE.dtype
    chosen = np.array([9, 2, 5])
    np.testing.assert_array_equal(lazy.subset(chosen)[1:], WHOLE[chosen][1:])
    np.testing.assert_array_equal(some_rows(lazy, WHOLE[:, 0, 0] > 12000)[:], some_rows(WHOLE, WHOLE[:, 0, 0] > 12000))
    sums = lazy.subset(chosen).mapped(lambda found: found.sum(axis=(1, 2)), (), np.int64)
    assert sums.shape == (3,) and sums[:].tolist() == WHOLE[chosen].sum(axis=(1, 2)).tolist()
    np.testing.assert_array_equal(np.asarray(lazy), WHOLE)
    np.testing.assert_array_equal(np.stack(list(lazy)), WHOLE)


def test_nothing_is_read_before_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(rows, "_PART_BYTES", 1030 * 48)  # 48 bytes a row
    asked = []
    lazy = LazyRows(lambda rows: asked.append(rows.tolist()) or WHOLE[rows], WHOLE.shape, WHOLE.dtype)
    some = lazy.subset(np.array([8, 7, 6])).mapped(lambda found: found, WHOLE.shape[1:], WHOLE.dtype)
    assert asked == []
    assert some[1].shape == (2, 3) and asked == [[7]]
    assert [len(part) for part in parts(lazy)] == [1024, 1024, 52]
    assert len(asked) == 4


def test_the_memory_is_that_of_the_container_where_it_has_less(tmp_path):
    machine = machine_memory(tmp_path)
    assert machine > 2**28
    (tmp_path / "sys" / "fs" / "cgroup").mkdir(parents=True)
    limit = tmp_path / "sys" / "fs" / "cgroup" / "memory.max"
    limit.write_text("max\n")
    assert machine_memory(tmp_path) == machine
    limit.write_text("1048576\n")
    assert machine_memory(tmp_path) == 1048576
