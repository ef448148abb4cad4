"""What randomised networks leave of the maps, row by row."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.evaluation.comparison import difference_interval
from btjax.evaluation.intervals import Clusters
from btjax.saliency.sanity import similarity_to
from btjax.saliency.scores import average_precision
from btjax.studies.saliency import _randomisation_row
from btjax.studies.subject import placed


@pytest.fixture
def subject():
    masks = np.zeros((6, 16, 16), bool)
    masks[:, 4:9, 5:10] = True
    return SimpleNamespace(tested=SimpleNamespace(masks=masks), clusters=np.array(["a", "a", "b", "c", "d", "e"]))


def noise(seed):
    return np.random.default_rng(seed).uniform(0, 0.5, (6, 16, 16)).astype(np.float32)


def test_a_loss_is_a_paired_difference_also_where_no_slice_gains(subject):
    before, after = noise(0) + subject.tested.masks * np.float32(0.4), noise(1)
    row = _randomisation_row(
        subject, np.arange(6), ("gradient", "conv_1"), (before, after), similarity_to(before)(after)
    )
    masks = subject.tested.masks
    losses = average_precision(before, masks) - average_precision(after, masks)
    assert losses.min() > 0
    expected = difference_interval(losses, Clusters.of(subject.clusters))
    assert row.lost == pytest.approx(losses.mean()) and row.lost_ci95 == pytest.approx(expected.ci95)


def test_that_nothing_was_lost_is_not_certain_of_other_patients(subject):
    maps = noise(0)
    row = _randomisation_row(subject, np.arange(6), ("outline", "logits"), (maps, maps), similarity_to(maps)(maps))
    low, high = row.lost_ci95
    assert row.lost == 0 and low == pytest.approx(-high) and high > 0.3 and row.spearman == pytest.approx(1)


def test_a_program_is_compiled_once_for_restored_and_for_random_values():
    @jax.jit
    def program(variables):
        return jax.tree.map(jnp.sum, variables)

    random = {"params": {"first": jnp.ones(3), "last": jnp.ones(2)}, "batch_stats": {}}
    bound = jax.device_put(random, jax.devices()[0])
    mixed = {"params": bound["params"] | {"last": random["params"]["last"]}}
    for variables in (random, bound, mixed):
        program(placed(variables))
    assert program._cache_size() == 1 and set(placed(random)) == {"params"}
