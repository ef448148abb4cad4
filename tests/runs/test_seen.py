from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from btjax.evaluation.typical import Seen, Typical
from btjax.runs import seen
from btjax.runs.arrays import save_arrays


@pytest.mark.parametrize("size", [(1, 1), (7, 30), (32, 63)])
def test_statistics_of_a_small_map_are_those_of_all_its_pixels(size):
    maps = np.random.default_rng(0).normal(1, 2, (3, *size, 5)).astype(np.float32)
    mean, deviation = seen._statistics(jnp.asarray(maps))
    np.testing.assert_allclose(mean, maps.mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(deviation, maps.std((1, 2)), atol=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (224, 224), (512, 40)])
def test_statistics_of_a_wide_map_are_those_of_a_grid_of_at_least_32_rows_and_columns(size):
    maps = np.random.default_rng(0).normal(1, 2, (3, *size, 5)).astype(np.float32)
    mean, deviation = seen._statistics(jnp.asarray(maps))
    error = 2 / 32  # of the mean of 32 x 32 independent pixels whose deviation is 2
    assert abs(mean - maps.mean((1, 2))).max() < 4 * error and abs(deviation - maps.std((1, 2))).max() < 4 * error
    ones = seen._statistics(jnp.ones((1, *size, 1)))
    assert [float(one[0, 0]) for one in ones] == [1, 0]


def test_what_is_typical_counts_for_the_run_and_the_statistics_that_it_was_made_of(tmp_path):
    random = np.random.default_rng(0)
    looks = Seen(*(random.normal(size=(40, width)).astype(np.float32) for width in (3, 4, 6)))
    typical = Typical.fit(looks.take(np.arange(30)), looks.take(np.arange(30, 40)))
    run = SimpleNamespace(folder=tmp_path, variables={"params": {"kernel": jnp.ones(3)}})
    seen.save_typical(tmp_path / seen.TYPICAL, run, typical)
    assert seen.load_typical(run) is not None
    other = SimpleNamespace(folder=tmp_path, variables={"params": {"kernel": jnp.zeros(3)}})
    assert seen.load_typical(other) is None
    earlier = {"mark": np.array(seen.mark_of(run)), **typical.arrays()}  # of every pixel
    save_arrays(tmp_path / seen.TYPICAL, seen.SCHEMA, earlier)
    assert seen.load_typical(run) is None
