"""Backbones as classifiers: frozen trunk and head on kept features, and the last stages fine-tuned."""

import dataclasses

import jax
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.data.preprocess import Preprocessing
from btjax.saliency.classifier import Classifier
from btjax.saliency.maps import attribution_maps
from btjax.saliency.methods import METHODS
from btjax.systems.backbones import check_statistics, prepare_backbone
from btjax.systems.config import Config
from btjax.systems.presets import preset
from btjax.systems.system import Place
from btjax.systems.transfer import TransferConfig
from btjax.training.config import TrainingConfig
from btjax.training.loop import Trainer
from btjax.training.step import make_predict
from tests.models.backbones import SIZES, tiny
from tests.training.blobs import blob_split, make_blobs
from tests.weights.backbone_files import keras_leaves
from tests.weights.files import write_legacy

SLICES = make_blobs(count=30, size=32)
FAMILIES = {"efficientnet": ("efficientnet", "torch"), "resnet": ("resnet50", "caffe")}
FROZEN = ("logits/*=1", "*=0")
LAST = {
    "efficientnet": ("logits/*=1", "top/*=0.1", "block2b/*=0.1", "*=0"),
    "resnet": ("logits/*=1", "conv3*=0.1", "*=0"),
}
BELOW = {"efficientnet": "block2a", "resnet": "conv2_block1"}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def weights(tmp_path_factory, family):
    return write_legacy(tmp_path_factory.mktemp("weights") / f"{family}.h5", keras_leaves(tiny(family)))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


def make_config(family, weights, rates=FROZEN, cached=True, **options) -> Config:
    system, scale = FAMILIES[family]
    config = dataclasses.replace(
        Config.default(system),
        model=tiny(family, dropout=0.0, **options),
        preprocessing=Preprocessing("grey3", scale),
        extra=TransferConfig(weights=str(weights), feature_cache=cached),
    )
    return config.replace("training.layer_rates", rates)


def prepare(family, weights, cache, rates=FROZEN, **options):
    config = make_config(family, weights, rates, **options)
    return prepare_backbone(config, SLICES, blob_split(SLICES), Place(cache))


def fit(prepared, rates=FROZEN) -> Trainer:
    config = TrainingConfig(epochs=2, batch_size=8, layer_rates=rates)
    trainer = Trainer(prepared.task, config, prepared.examples, 0, pretrained=prepared.pretrained)
    trainer.fit()
    return trainer


def test_kept_features_are_the_networks_outputs_and_nothing_of_the_trunk_moves(family, weights, cache):
    prepared = prepare(family, weights, cache)
    assert prepared.features == "average"
    trainer = fit(prepared)
    variables, model = trainer.state.variables, prepared.task.model
    inputs = prepared.task.preprocessing(SLICES.images[:4])
    features = model.apply(variables, inputs, stop="average")
    np.testing.assert_allclose(prepared.examples.images[:4], features, rtol=1e-3, atol=1e-5)
    for collection in ("params", "batch_stats"):
        kept = {stage: variables[collection][stage] for stage in prepared.pretrained[collection]}
        jax.tree.map(np.testing.assert_array_equal, kept, prepared.pretrained[collection])
    whole = dataclasses.replace(prepared.task, start=None)
    np.testing.assert_allclose(
        make_predict(prepared.task)(variables, prepared.examples.images[:9], 4),
        make_predict(whole)(variables, SLICES.images[:9], 4),
        rtol=1e-3,
        atol=1e-4,
    )


def test_a_frozen_trunk_in_place_trains_the_same_head_even_with_statistics_of_batches(family, weights, cache):
    kept = fit(prepare(family, weights, cache))
    in_place = fit(prepare(family, weights, cache, cached=False, fixed_statistics=False))
    for name in ("params", "batch_stats"):
        trees = (getattr(run.state, name) for run in (kept, in_place))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4), *trees)


@pytest.mark.parametrize("fixed", [True, False], ids=["fixed statistics", "statistics of batches"])
def test_fine_tuned_stages_move_and_their_statistics_only_where_they_may(family, weights, cache, fixed):
    prepared = prepare(family, weights, cache, LAST[family], fixed_statistics=fixed)
    assert prepared.features == BELOW[family]
    after = fit(prepared, LAST[family]).state.variables
    model = prepared.task.model
    for place, stage in enumerate(model.trunk):
        above = place > model.trunk.index(BELOW[family])
        for collection, may_move in (("params", True), ("batch_stats", not fixed)):
            if stage in prepared.pretrained[collection]:
                one, other = (jax.tree.leaves(tree[collection][stage]) for tree in (after, prepared.pretrained))
                moved = any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))
                assert moved == (above and may_move), (collection, stage)


def test_random_trunks_need_statistics_of_their_own(family):
    with pytest.raises(InputError, match=r"--fixed_statistics: --weights=random come with none"):
        check_statistics(make_config(family, "random"))
    check_statistics(make_config(family, "random", fixed_statistics=False))


def test_folded_weights_have_no_statistics_to_train_with(tmp_path):
    leaves = keras_leaves(tiny("efficientnet"))
    for name in leaves:
        if "moving" in name:
            leaves[name] = np.full_like(leaves[name], name.endswith("variance"))
    path = write_legacy(tmp_path / "folded.h5", leaves)
    assert prepare("efficientnet", path, tmp_path / "cache").features == "average"
    with pytest.raises(InputError, match=r"--nofixed_statistics: the normalisation in .*folded"):
        prepare("efficientnet", path, tmp_path / "cache", fixed_statistics=False)


def test_another_scale_is_refused(weights, family, tmp_path):
    config = make_config(family, weights)
    config = config.replace("preprocessing.scale", "unit")
    with pytest.raises(InputError, match=r"--scale=unit: the weights in .* expect --scale="):
        prepare_backbone(config, SLICES, blob_split(SLICES), Place(tmp_path))


@pytest.mark.parametrize("name", ["efficientnet_b3_paper", "efficientnet_b0_finetune", "inception_cpu", "resnet50_cpu"])
def test_presets_are_of_a_size_that_their_network_takes(name):
    config = preset(name)
    config.model.check(config.data.image_size)


@pytest.mark.parametrize("method", ["gradient", "grad_cam", "integrated_gradients", "occlusion"])
@pytest.mark.parametrize("name", SIZES)
def test_a_backbone_is_explained(name, method):
    model, size = tiny(name), SIZES[name]
    images = np.random.default_rng(0).random((2, size, size, 3), np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    maps = attribution_maps(
        Classifier(model, variables), images, np.array([0, 2], np.int32), jax.random.key(1), METHODS[method]
    )
    assert maps.shape == (2, size, size) and np.isfinite(maps).all() and np.any(maps)
