import numpy as np
import pytest

from btjax.features.kept import kept_array


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(bytes(byte ^ (at == 140) for at, byte in enumerate(path.read_bytes()))),
        lambda path: np.save(path, np.zeros(9)),
    ],
    ids=["empty", "cut", "flipped", "replaced"],
)
def test_an_array_is_computed_once_and_again_where_it_is_damaged(tmp_path, damage):
    calls = []

    def compute():
        calls.append(1)
        return np.arange(9.0)

    for expected in (1, 1):
        np.testing.assert_array_equal(kept_array(tmp_path, "words", [1], compute), np.arange(9.0))
        assert len(calls) == expected
    damage(next(tmp_path.glob("*.npy")))
    for _ in range(2):
        np.testing.assert_array_equal(kept_array(tmp_path, "words", [1], compute), np.arange(9.0))
        assert len(calls) == 2
