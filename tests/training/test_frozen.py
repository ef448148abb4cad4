"""Frozen stages: they run as in inference, whether their output was computed beforehand or is computed in place."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btjax.base.errors import InputError
from btjax.data.augment import Augmentation
from btjax.data.preprocess import Preprocessing
from btjax.features.deep import FrozenPart, compute_features, highest_frozen
from btjax.models.cnn import CNN
from btjax.models.unet import UNet
from btjax.training.config import TrainingConfig
from btjax.training.examples import Examples
from btjax.training.loop import Trainer
from btjax.training.many import ManyTrainer
from btjax.training.state import create_state
from btjax.training.tasks import Classification, Reconstruction
from tests.nn.networks import Residual
from tests.training.blobs import blob_split, make_blobs, tiny_task
from tests.training.trainers import same_bits

SLICES = make_blobs()
EXAMPLES = Examples.of(SLICES, blob_split(SLICES))
TASK = Classification(Residual(), Preprocessing("grey"), Augmentation())
HEAD_ALONE = TrainingConfig(epochs=2, batch_size=16, layer_rates=("logits/*=1", "*=0"))


@pytest.fixture(scope="module")
def pretrained():
    """The stem and the block of a network, with running statistics that are not those of a fresh one."""
    variables = jax.jit(partial(TASK.initialise, image_size=16))(jax.random.key(7))
    statistics = jax.tree.map(lambda leaf: leaf + 0.3, variables["batch_stats"])
    params = {stage: variables["params"][stage] for stage in ("stem", "block")}
    return {"params": params, "batch_stats": statistics}


def fit(task, config, examples, pretrained) -> Trainer:
    trainer = Trainer(task, config, examples, 0, pretrained=pretrained)
    trainer.fit()
    return trainer


def test_statistics_of_frozen_stages_keep_their_bytes_and_those_above_move(pretrained):
    config = dataclasses.replace(HEAD_ALONE, layer_rates=("stem/*=0", "*=1"))
    trainer = fit(TASK, config, EXAMPLES, pretrained)
    assert trainer.task.frozen_below == "stem"
    found, expected = trainer.state.batch_stats, pretrained["batch_stats"]
    assert same_bits(found["stem"], expected["stem"])
    moved = jax.tree.map(lambda new, old: bool(np.any(new != old)), found["block"], expected["block"])
    assert jax.tree.all(moved)


def test_a_frozen_stage_above_one_that_trains_sees_the_batchs_own_statistics(pretrained):
    config = dataclasses.replace(HEAD_ALONE, epochs=1, layer_rates=("block/*=0", "*=1"))
    trainer = fit(TASK, config, EXAMPLES, pretrained)
    assert trainer.task.frozen_below is None
    assert not same_bits(trainer.state.batch_stats["block"], pretrained["batch_stats"]["block"])


def test_a_run_on_kept_features_trains_to_the_numbers_of_the_run_in_place(tmp_path, pretrained):
    layer = highest_frozen(TASK.model, {"logits": {}})
    features = compute_features(FrozenPart(TASK.model, pretrained, layer), TASK.preprocessing, SLICES.images, tmp_path)
    cached = fit(dataclasses.replace(TASK, start=layer), HEAD_ALONE, replace_images(features), pretrained)
    in_place = fit(TASK, HEAD_ALONE, EXAMPLES, pretrained)
    for name in ("params", "batch_stats"):
        for leaf, expected in zip(
            *(jax.tree.leaves(getattr(run.state, name)) for run in (cached, in_place)), strict=True
        ):
            np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-6)
    for row, expected in zip(cached.progress.history, in_place.progress.history, strict=True):
        assert row | {"seconds": 0} == pytest.approx(expected | {"seconds": 0}, rel=1e-4)
    assert same_bits(in_place.state.batch_stats, pretrained["batch_stats"])


def replace_images(features):
    return dataclasses.replace(EXAMPLES, images=features)


def test_dropout_below_the_freeze_is_off():
    model = CNN(widths=(4,), pools=1, dense=16, dropout=0.5)
    task = Classification(model, Preprocessing("grey"), Augmentation())
    state = create_state(partial(task.initialise, image_size=16), optax.sgd(0.1), jax.random.key(0))
    batch = {"images": jnp.asarray(SLICES.images[:8]), "labels": jnp.asarray(SLICES.labels[:8])}
    batch["counted"] = jnp.ones(8, bool)

    def loss(frozen_below, step):
        one = dataclasses.replace(task, frozen_below=frozen_below)
        return float(jax.jit(one.loss)(state.params, state.replace(step=jnp.int32(step)), batch)[0])

    assert loss("flatten", 0) != loss("flatten", 1)
    assert loss("dense", 0) == loss("dense", 1)
    expected = task.evaluate(state.variables, batch)
    assert loss("dense", 0) == pytest.approx(float(expected["loss"] / expected["count"]), rel=1e-6)


def test_a_frozen_part_without_statistics_or_dropout_changes_no_bit():
    task = tiny_task(flip=True)
    config = TrainingConfig(epochs=2, batch_size=16, layer_rates=("conv_1/*=0", "*=1"))
    trainer = Trainer(task, config, EXAMPLES, 0)
    assert trainer.task.frozen_below == "pool_1"
    batch = {name: array[:16] for name, array in trainer.dataset.items()} | {"counted": jnp.ones(16, bool)}
    results = [
        jax.jit(jax.value_and_grad(one.loss, has_aux=True))(trainer.state.params, trainer.state, batch)
        for one in (task, trainer.task)
    ]
    assert same_bits(*results)


def test_what_is_frozen_for_ever_is_no_stage_of_the_autoencoder():
    task = Reconstruction(UNet(width=2), Preprocessing("grey3"), Augmentation())
    assert task.with_trained({"last": {}}) is task


def test_pretrained_variables_take_the_place_of_fresh_ones(pretrained):
    fresh = Trainer(TASK, HEAD_ALONE, EXAMPLES, 0).state.variables
    found = Trainer(TASK, HEAD_ALONE, EXAMPLES, 0, pretrained=pretrained).state.variables
    for collection in ("params", "batch_stats"):
        for stage in ("stem", "block"):
            assert same_bits(found[collection][stage], pretrained[collection][stage])
    assert same_bits(found["params"]["logits"], fresh["params"]["logits"])
    for run in ManyTrainer(TASK, HEAD_ALONE, [EXAMPLES] * 2, [0, 1], pretrained=pretrained).runs:
        assert same_bits(run.state.variables["batch_stats"], pretrained["batch_stats"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"params": {"stemm": {"kernel": np.zeros(3)}}}, r"params/stemm/kernel is \[3\], expected none"),
        ({"params": {"logits": {"kernel": np.zeros((4, 3))}}}, r"params/logits/bias is missing, expected \[3\]"),
        (
            {"params": {"logits": {"kernel": np.zeros((4, 5)), "bias": np.zeros(5)}}},
            r"params/logits/bias is \[5\], expected \[3\]: weights of another architecture",
        ),
        ({"batch_stats": {"logits": {"mean": np.zeros(3)}}}, r"batch_stats/logits/mean is \[3\], expected none"),
    ],
)
def test_pretrained_variables_of_another_network_are_named(given, message):
    with pytest.raises(InputError, match=message):
        Trainer(TASK, HEAD_ALONE, EXAMPLES, 0, pretrained=given)
