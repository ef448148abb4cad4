from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btjax.base.keys import random_key
from btjax.training import step as compiled
from btjax.training.config import TrainingConfig
from btjax.training.optimizers import make_optimizer, make_schedule
from btjax.training.state import create_state
from tests.training.blobs import make_blobs, tiny_task


@pytest.fixture(scope="module")
def setting():
    slices, task = make_blobs(), tiny_task()
    dataset = {"images": jnp.asarray(slices.images), "labels": jnp.asarray(slices.labels)}
    optimizer = make_optimizer(TrainingConfig(), 4)
    state = create_state(partial(task.initialise, image_size=16), optimizer, jax.random.key(0))
    return task, optimizer, dataset, state


def copy(tree):
    """A copy that may be donated."""
    return jax.tree.map(jnp.copy, tree)


def test_batch_table_holds_every_row_once_and_marks_its_padding():
    table, counted = compiled.batch_table(jnp.arange(10, 33, dtype=jnp.int32), 8)
    assert table.shape == counted.shape == (3, 8)
    np.testing.assert_array_equal(np.sort(table[counted]), np.arange(10, 33))
    assert not counted[2, 7] and counted.sum() == 23


def test_each_epoch_shuffles_anew_and_a_key_decides_how():
    rows = jnp.arange(40, dtype=jnp.int32)
    tables = [
        compiled.shuffled_batches(jax.random.key(key), epoch, rows, 8)[0]
        for key, epoch in [(0, 0), (0, 1), (1, 0), (0, 0)]
    ]
    assert not np.array_equal(tables[0], tables[1]) and not np.array_equal(tables[0], tables[2])
    np.testing.assert_array_equal(tables[0], tables[3])


def test_keys_differ_by_name_and_step():
    root = jax.random.key(0)
    keys = [random_key(root, name, step) for name in ("dropout", "shuffle") for step in (0, 1)]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 4


def test_padding_changes_neither_loss_nor_gradient(setting):
    task, _, dataset, state = setting
    task = tiny_task(dropout=0.0)
    short = {name: array[:5] for name, array in dataset.items()} | {"counted": jnp.ones(5, bool)}
    padded = {name: array[:8] for name, array in dataset.items()} | {"counted": jnp.arange(8) < 5}
    gradients = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
    results = [gradients(state.params, state, batch) for batch in (short, padded)]
    (first, second), (gradient, other) = zip(*results, strict=True)
    np.testing.assert_allclose(first[0], second[0], rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), gradient, other)


def test_loss_is_cross_entropy_plus_the_dense_kernels_l2(setting):
    _, _, dataset, state = setting
    task = tiny_task(dropout=0.0)
    batch = {name: array[:6] for name, array in dataset.items()} | {"counted": jnp.ones(6, bool)}
    loss, _ = jax.jit(task.loss)(state.params, state, batch)
    logits = np.asarray(task.outputs(state.variables, batch["images"]), np.float64)
    log_shares = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    entropy = -log_shares[np.arange(6), batch["labels"]].mean()
    penalty = 0.001 * np.square(np.asarray(state.params["dense"]["kernel"], np.float64)).sum()
    np.testing.assert_allclose(loss, entropy + penalty, rtol=1e-5)


def test_a_chunk_equals_its_steps_one_by_one(setting):
    task, optimizer, dataset, state = setting
    batches = compiled.shuffled_batches(state.key, 0, jnp.arange(90, dtype=jnp.int32), 32)
    chunk = compiled.make_train_chunk(task, optimizer)
    whole, sums = chunk((copy(state), compiled.zero_sums(task, dataset, state)), dataset, batches, 0, 3)
    train_step, one = jax.jit(compiled.make_train_step(task, optimizer)), state
    for index in range(3):
        batch = {name: array[batches.table[index]] for name, array in dataset.items()}
        batch["counted"] = batches.counted[index]
        one, _ = train_step(one, batch)
    assert whole.step == one.step == 3
    assert sums["count"] == 90
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), whole.params, one.params)


def test_nothing_is_traced_again_for_other_chunks_or_epochs(setting):
    task, optimizer, dataset, state = setting
    traces = []

    class Counting:
        preprocessing, model = task.preprocessing, task.model
        evaluate = staticmethod(task.evaluate)

        @staticmethod
        def loss(*arguments):
            traces.append(1)
            return task.loss(*arguments)

    chunk = compiled.make_train_chunk(Counting, optimizer)
    carry = copy(state), compiled.zero_sums(task, dataset, state)
    for epoch, start, stop in [(0, 0, 1), (0, 1, 3), (1, 0, 2), (1, 2, 3), (2, 0, 3)]:
        batches = compiled.shuffled_batches(carry[0].key, jnp.int32(epoch), jnp.arange(90, dtype=jnp.int32), 32)
        carry = chunk(carry, dataset, batches, jnp.int32(start), jnp.int32(stop))
    assert len(traces) == 1
    assert chunk._cache_size() == 1


def test_the_first_step_with_a_loss_that_is_not_finite_is_named(setting):
    task, optimizer, dataset, state = setting
    batches = compiled.shuffled_batches(state.key, 0, jnp.arange(90, dtype=jnp.int32), 32)
    broken = copy(state).replace(params=jax.tree.map(lambda leaf: leaf * jnp.inf, state.params))
    chunk = compiled.make_train_chunk(task, optimizer)
    _, sums = chunk((copy(state), compiled.zero_sums(task, dataset, state)), dataset, batches, 0, 3)
    assert compiled.not_finite(jax.device_get(sums)) is None
    carry = broken.replace(step=jnp.int32(7)), compiled.zero_sums(task, dataset, state)
    _, sums = chunk(carry, dataset, batches, 0, 3)
    assert compiled.not_finite(jax.device_get(sums)) == ("loss", 7)


def test_of_two_faults_the_earlier_step_is_named_and_of_one_steps_the_loss():
    sums = {"not_finite_loss": np.int32(5), "not_finite_gradient": np.int32(4)}
    assert compiled.not_finite(sums) == ("gradient", 4)
    assert compiled.not_finite(sums | {"not_finite_gradient": np.int32(5)}) == ("loss", 5)


def test_evaluation_and_prediction_agree_and_count_every_row_once(setting):
    task, _, dataset, state = setting
    rows = np.arange(3, 40)
    table = compiled.batch_table(jnp.asarray(rows, jnp.int32), 8)
    means = compiled.means(jax.device_get(compiled.make_evaluate(task)(state.variables, dataset, *table)))
    logits = compiled.make_predict(task)(state.variables, np.asarray(dataset["images"])[rows], 8)
    labels = np.asarray(dataset["labels"])[rows]
    assert logits.shape == (37, 3)
    assert means["accuracy"] == pytest.approx((logits.argmax(1) == labels).mean())
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    assert means["loss"] == pytest.approx(float(losses.mean() + task.model.penalty(state.params)), rel=1e-5)


def test_schedules_have_their_shapes():
    def rates(**options):
        schedule = make_schedule(TrainingConfig(epochs=10, **options), 4)
        return np.array([float(schedule(step)) for step in range(40)])

    np.testing.assert_allclose(rates(), 0.001, rtol=1e-6)
    cosine = rates(schedule="cosine")
    np.testing.assert_allclose(cosine, 0.0005 * (1 + np.cos(np.pi * np.arange(40) / 40)), rtol=1e-4)
    warm = rates(warmup_epochs=2.0, schedule="cosine")
    np.testing.assert_allclose(warm[:8], 0.001 * np.arange(8) / 8, rtol=1e-5)
    assert warm[8] == pytest.approx(0.001) and (np.diff(warm[8:]) < 0).all()


def test_adamw_decays_kernels_and_leaves_biases(setting):
    _, _, _, state = setting
    optimizer = make_optimizer(TrainingConfig(optimizer="adamw", weight_decay=0.5, learning_rate=0.1), 4)
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    updates, _ = optimizer.update(zeros, optimizer.init(state.params), state.params)
    kernel = state.params["dense"]["kernel"]
    np.testing.assert_allclose(updates["dense"]["kernel"], -0.05 * kernel, rtol=1e-5, atol=1e-9)
    assert not np.any(updates["dense"]["bias"])
