"""Which parameters train, and how fast."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btjax.base.errors import InputError
from btjax.training import step as compiled
from btjax.training.config import TrainingConfig
from btjax.training.freezing import Rate, merge, split_frozen
from btjax.training.optimizers import make_optimizer
from btjax.training.state import create_state
from tests.training.blobs import make_blobs, tiny_task

PARAMS = {"conv_1": {"kernel": 1, "bias": 2}, "conv_2": {"kernel": 3, "bias": 4}, "logits": {"kernel": 5, "bias": 6}}


def test_the_first_pattern_that_matches_decides():
    trained, frozen = split_frozen(PARAMS, ("conv_2/bias=0", "conv_2/*=1", "conv_*=0", "*=1"))
    assert trained == {"conv_2": {"kernel": 3}, "logits": {"kernel": 5, "bias": 6}}
    assert frozen == {"conv_1": {"kernel": 1, "bias": 2}, "conv_2": {"bias": 4}}
    assert merge(trained, frozen) == PARAMS


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (("conv_*=1",), "no pattern matches the parameter logits/"),
        (("conv_9=0", "*=1"), "'conv_9' is the first match for no parameter; there are conv_1, conv_2, logits"),
        (("*=1", "conv_1*=0"), "'conv_1*' is the first match for no parameter"),
        (("*=0",), "every parameter is frozen"),
        (("conv_1", "*=1"), "found 'conv_1', expected PATTERN=FACTOR"),
        (("*=fast",), "found '*=fast'"),
        (("*=-1",), "found '*=-1'"),
        (("*=1@x",), "found '*=1@x'"),
        (("*=nan",), "found '*=nan'"),
    ],
)
def test_rules_that_leave_a_parameter_or_decide_nothing_are_refused(rates, message):
    with pytest.raises(InputError, match=re.escape(message)):
        split_frozen(PARAMS, rates)


def test_a_rule_is_read_with_its_epoch():
    assert Rate.parse("block5_*=0.1@3") == Rate("block5_*", 0.1, 3.0)


def trained_steps(config: TrainingConfig, steps: int):
    """The states before and after some steps of a tiny CNN under a config."""
    slices, task = make_blobs(), tiny_task()
    dataset = {"images": jnp.asarray(slices.images), "labels": jnp.asarray(slices.labels)}
    optimizer = make_optimizer(config, 4)
    before = create_state(partial(task.initialise, image_size=16), optimizer, jax.random.key(0), config.layer_rates)
    step, state, rows = jax.jit(compiled.make_train_step(task, optimizer)), before, jnp.arange(16)
    batch = {name: jnp.take(array, rows, axis=0) for name, array in dataset.items()} | {"counted": jnp.ones(16, bool)}
    for _ in range(steps):
        state, _ = step(state, batch)
    return before, state


@pytest.mark.parametrize("decay", [{}, {"optimizer": "adamw", "weight_decay": 0.5}])
def test_frozen_parameters_keep_their_bytes_and_need_no_moments(decay):
    before, after = trained_steps(TrainingConfig(layer_rates=("conv_1*=0", "*=1"), learning_rate=0.1, **decay), 4)
    assert set(before.frozen) == {"conv_1"}
    for old, new in zip(jax.tree.leaves(before.frozen), jax.tree.leaves(after.frozen), strict=True):
        assert old.tobytes() == new.tobytes()
    for name in before.params:
        assert not np.array_equal(before.params[name]["kernel"], after.params[name]["kernel"]), name
    moments = optax.tree.get(after.opt_state, "mu")
    assert set(moments) == {"conv_2", "dense", "logits"}
    assert set(after.variables["params"]) == {"conv_1", "conv_2", "dense", "logits"}


def test_a_factor_scales_the_first_step_of_its_parameters_alone():
    before, plain = trained_steps(TrainingConfig(), 1)
    _, scaled = trained_steps(TrainingConfig(layer_rates=("conv_*=0.1", "*=1")), 1)
    for name, factor in (("conv_1", 0.1), ("conv_2", 0.1), ("logits", 1.0)):
        moved = plain.params[name]["kernel"] - before.params[name]["kernel"]
        found = scaled.params[name]["kernel"] - before.params[name]["kernel"]
        np.testing.assert_allclose(found, factor * moved, rtol=1e-3, atol=1e-8)


def test_a_layer_waits_for_its_epoch():
    config = TrainingConfig(layer_rates=("conv_1*=1@1", "*=1"))  # four steps to an epoch
    before, waiting = trained_steps(config, 4)
    np.testing.assert_array_equal(waiting.params["conv_1"]["kernel"], before.params["conv_1"]["kernel"])
    assert not np.array_equal(waiting.params["conv_2"]["kernel"], before.params["conv_2"]["kernel"])
    _, moving = trained_steps(config, 5)
    assert not np.array_equal(moving.params["conv_1"]["kernel"], before.params["conv_1"]["kernel"])
