import os

import numpy as np
import pytest

from btjax.base.arrays import load_array, save_array
from btjax.base.errors import InputError

ARRAYS = [
    np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.zeros((0, 3), np.uint8),
    np.array([True, False]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype))
def test_an_array_comes_back_and_any_program_reads_it(tmp_path, array):
    save_array(tmp_path / "a.npy", array, "x")
    for found in (load_array(tmp_path / "a.npy", "x"), np.load(tmp_path / "a.npy")):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_no_flipped_bit_gives_another_array(tmp_path):
    path = tmp_path / "a.npy"
    save_array(path, ARRAYS[0], "x")
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.npy: damaged"):
            load_array(path, "x")


def test_a_file_that_was_cut_replaced_or_is_of_something_else_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    save_array(path, ARRAYS[0], "x")
    for size in (0, 5, path.stat().st_size - 1, path.stat().st_size - 32):
        save_array(path, ARRAYS[0], "x")
        os.truncate(path, size)
        with pytest.raises(InputError, match="damaged"):
            load_array(path, "x")
    np.save(path, ARRAYS[0])
    with pytest.raises(InputError, match="damaged"):
        load_array(path, "x")
    save_array(path, ARRAYS[0], "y")
    with pytest.raises(InputError, match="damaged"):
        load_array(path, "x")
