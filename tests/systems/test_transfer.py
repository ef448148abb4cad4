"""Transfer learning on published weights (random ones here), with and without kept features."""

import dataclasses

import jax
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.data.augment import Augmentation
from btjax.data.preprocess import Preprocessing
from btjax.models.vgg16 import CONVOLUTIONS, VGG16
from btjax.systems.config import Config
from btjax.systems.system import Place
from btjax.systems.transfer import TransferConfig, prepare_transfer
from btjax.training.balance import balanced_weights
from btjax.training.config import TrainingConfig
from btjax.training.loop import Trainer
from btjax.training.step import make_predict
from btjax.weights import vgg16
from tests.training.blobs import blob_split, make_blobs
from tests.weights.files import random_leaves, write_legacy

FROZEN = ("block*=0", "*=1")
SLICES = make_blobs(count=30, size=32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_legacy(tmp_path_factory.mktemp("weights") / "vgg16.h5", random_leaves())


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


def make_config(weights, rates=FROZEN, scale="caffe", **options) -> Config:
    """Options of the transfer group and of the augmentation by their names."""
    augmentation = {name: options.pop(name) for name in ("flip", "shift") if name in options}
    config = dataclasses.replace(
        Config.default("vgg16"),
        model=VGG16(pooling="average", dense=8),
        preprocessing=Preprocessing("grey3", scale),
        augmentation=Augmentation(**augmentation),
        extra=TransferConfig(weights=str(weights), **options),
    )
    return config.replace("training.layer_rates", rates)


def prepare(weights, cache, rates=FROZEN, **options):
    return prepare_transfer(make_config(weights, rates, **options), SLICES, blob_split(SLICES), Place(cache))


def fit(prepared, **options) -> Trainer:
    config = TrainingConfig(**{"epochs": 2, "batch_size": 8, "layer_rates": FROZEN} | options)
    trainer = Trainer(prepared.task, config, prepared.examples, 0, pretrained=prepared.pretrained)
    trainer.fit()
    return trainer


@pytest.mark.parametrize("decay", [{}, {"optimizer": "adamw", "weight_decay": 0.5}])
def test_the_frozen_base_has_the_files_bytes_after_training(weights, cache, decay):
    published = vgg16.load(weights).base["params"]
    trained = fit(prepare(weights, cache), learning_rate=0.1, **decay).state.variables["params"]
    for layer in CONVOLUTIONS:
        for kind, leaf in published[layer].items():
            assert np.asarray(trained[layer][kind]).tobytes() == leaf.tobytes(), f"{layer}/{kind}"
    assert set(trained) == {*CONVOLUTIONS, "dense", "logits"}


def test_kept_features_train_the_same_head_as_the_whole_network(weights, cache):
    kept, whole = prepare(weights, cache), prepare(weights, cache, feature_cache=False)
    assert (kept.features, whole.features) == ("average", None)
    one, other = fit(kept).state.params, fit(whole).state.params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4), one, other)


def test_predictions_from_features_are_those_of_slices(weights, cache):
    kept = prepare(weights, cache)
    variables = fit(kept).state.variables
    from_features = make_predict(kept.task)(variables, kept.examples.images[:9], 4)
    whole = dataclasses.replace(kept.task, start=None)
    np.testing.assert_allclose(
        from_features, make_predict(whole)(variables, SLICES.images[:9], 4), rtol=1e-3, atol=1e-3
    )


def test_fine_tuning_keeps_the_features_below_the_lowest_trained_block(weights, cache):
    rates = ("block5_*=0.1", "block*=0", "*=1")
    prepared = prepare(weights, cache, rates)
    assert prepared.features == "block4_pool"
    published = vgg16.load(weights).base["params"]
    trained = fit(prepared, layer_rates=rates, epochs=1).state.variables["params"]
    for layer in CONVOLUTIONS:
        same = np.array_equal(trained[layer]["kernel"], published[layer]["kernel"])
        assert same == (not layer.startswith("block5")), layer


def test_training_everything_leaves_no_features_to_keep(weights, cache):
    assert prepare(weights, cache, ("*=1",)).features is None


def test_augmentation_turns_the_cache_off_or_takes_copies_in_turn(weights, cache):
    changes = {"flip": True, "shift": 0.1}
    assert prepare(weights, cache, **changes).features is None
    prepared, split = prepare(weights, cache, **changes, feature_copies=2), blob_split(SLICES)
    examples, count = prepared.examples, len(split.train)
    assert prepared.features == "average" and examples.train.shape == (2, count)
    assert len(examples.images) == len(SLICES) + 2 * count
    for rows in examples.train:
        assert rows.min() >= len(SLICES)
        np.testing.assert_array_equal(examples.labels[rows], SLICES.labels[split.train])
    one, two = (examples.images[rows] for rows in examples.train)
    assert not np.allclose(one, two)
    np.testing.assert_array_equal(examples.images[: len(SLICES)], prepare(weights, cache).examples.images)


def test_weights_under_another_scale_are_refused_and_nothing_is_kept(weights, tmp_path):
    with pytest.raises(InputError, match=r"--scale=torch: the weights in .* expect --scale=caffe"):
        prepare(weights, tmp_path / "cache", scale="torch")
    with pytest.raises(InputError, match="--weights is missing"):
        prepare("", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_random_weights_are_possible_by_name(tmp_path):
    prepared = prepare("random", tmp_path / "cache")
    assert prepared.features is None and prepared.pretrained is None


def test_a_classical_head_needs_features(tmp_path, weights):
    with pytest.raises(InputError, match="--head=svm: needs features"):
        prepare("random", tmp_path, head="svm")
    assert prepare(weights, tmp_path, head="svm").head == "svm"


def test_a_head_that_cannot_weigh_classes_is_refused_before_features_are_computed(tmp_path, weights):
    config = make_config(weights, FROZEN, head="knn").replace("training.class_weights", "balanced")
    with pytest.raises(InputError, match="--class_weights=balanced: --head=knn has no loss to weigh, expected none"):
        prepare_transfer(config, SLICES, blob_split(SLICES), Place(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_classes_are_weighed_on_features_as_on_slices(weights, cache):
    prepared = prepare(weights, cache)
    trainer = Trainer(
        prepared.task,
        TrainingConfig(epochs=1, layer_rates=FROZEN, class_weights="balanced"),
        prepared.examples,
        0,
        pretrained=prepared.pretrained,
    )
    labels = SLICES.labels[blob_split(SLICES).train]
    np.testing.assert_array_equal(trainer.class_weights, balanced_weights(labels))
