import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.saliency.samples import each_sample, image_keys, mean_over_samples

ROWS = np.arange(3, dtype=np.float32)


def sample(index):
    return ROWS[:, None] + index.astype(jnp.float32), jnp.full(3, index)


@pytest.mark.parametrize("chunk", [1, 3, 7, 12, 100])
def test_a_loop_gives_the_same_whatever_its_passes_hold(chunk):
    taken = []

    def measure(values, indices):
        taken.append(len(values))
        return {"square": values**2, "index": indices}

    mean = mean_over_samples(measure, sample, 6, 3, chunk)
    np.testing.assert_allclose(mean["square"][:, 0], [np.mean((row + np.arange(6)) ** 2) for row in ROWS], rtol=1e-6)
    values = each_sample(measure, sample, 6, 3, chunk)
    np.testing.assert_array_equal(values["index"], np.repeat(np.arange(6)[:, None], 3, axis=1))
    np.testing.assert_array_equal(values["square"][:, 2, 0], (2 + np.arange(6)) ** 2)
    assert set(taken) == {{1: 3, 3: 3, 7: 6, 12: 9, 100: 18}[chunk]}


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        mean_over_samples(lambda values, _: values, sample, 0, 3, 1)


def test_each_image_has_a_key_of_its_own():
    keys = image_keys(jax.random.key(0), 3)
    assert len({tuple(data.tolist()) for data in jax.random.key_data(keys)}) == 3
    assert image_keys(keys, 3) is keys
