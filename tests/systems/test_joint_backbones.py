"""Joint training of backbones: published weights below, the decoder fresh, masks above."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.base.options import options
from btjax.data.preprocess import Preprocessing
from btjax.models.joint_backbone import JointVGG16
from btjax.systems.backbones import check_joint, check_outlining
from btjax.systems.config import Config
from btjax.systems.joint import JointTransferConfig
from btjax.systems.presets import preset
from btjax.systems.system import Place, find_system
from btjax.training.config import TrainingConfig
from btjax.training.freezing import parse_rates, rate_names
from btjax.training.guidance import Guidance
from btjax.training.loop import Trainer
from btjax.weights.backbones import load
from tests.models.test_joint_backbone import TINY
from tests.training.blobs import blob_split, make_blobs
from tests.weights.backbone_files import keras_leaves
from tests.weights.files import random_leaves, write_legacy

BLOBS = make_blobs(count=24, size=32)
SLICES = dataclasses.replace(BLOBS, masks=BLOBS.images >= 150)
FAMILIES = {
    "efficientnet": ("joint_efficientnet", "torch"),
    "resnet": ("joint_resnet50", "caffe"),
    "vgg16": ("joint_vgg16", "caffe"),
}
FROZEN = {
    "efficientnet": ("stem/*=0", "block*=0", "top/*=0", "*=1"),
    "resnet": ("conv*=0", "*=1"),
    "vgg16": ("block*=0", "*=1"),
}


@pytest.mark.parametrize("guided", [False, True], ids=["joint", "guided too"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_trunk_keeps_its_published_weights_while_the_rest_learns_from_masks(family, guided, tmp_path):
    leaves = random_leaves() if family == "vgg16" else keras_leaves(TINY[family][1])
    weights = write_legacy(tmp_path / "weights.h5", leaves)
    system, scale = FAMILIES[family]
    config = dataclasses.replace(
        Config.default(system),
        model=TINY[family][0],
        preprocessing=Preprocessing("grey3", scale),
        extra=JointTransferConfig(weights=str(weights)),
    )
    config = config.replace("training.layer_rates", FROZEN[family])
    prepared: Any = find_system(system).prepare(config, SLICES, blob_split(SLICES), Place(tmp_path))
    assert prepared.features is None and prepared.task.metrics == ("loss", "accuracy", "dice")
    task = dataclasses.replace(prepared.task, guidance=Guidance(1.0, "gradient") if guided else None)
    training = TrainingConfig(epochs=1, batch_size=8, layer_rates=FROZEN[family])
    trainer = Trainer(task, training, prepared.examples, 0, pretrained=prepared.pretrained)
    fresh = jax.device_get(trainer.state.params)
    trainer.fit()
    after = trainer.state.variables
    for collection, tree in prepared.pretrained.items():
        for stage, leaves in tree.items():
            jax.tree.map(np.testing.assert_array_equal, after[collection][stage], leaves)
    moved = [
        not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (fresh, trainer.state.params)), strict=True)
    ]
    assert sum(moved) > len(moved) / 2


@pytest.mark.parametrize(
    ("system", "file", "scale"),
    [
        ("joint_efficientnet", "efficientnetb0_notop.h5", "torch"),
        ("joint_resnet50", "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", "caffe"),
    ],
)
def test_the_genuine_weights_of_a_backbone_are_those_of_its_joint_form(weights_folder, system, file, scale):
    path = weights_folder / file
    if not path.exists():
        pytest.skip(f"no {file}: $BTJAX_WEIGHTS names no folder with it")
    weights = load(path, Config.default(system).model)
    plain = load(path, Config.default(system.removeprefix("joint_")).model)
    assert weights.scale == plain.scale == scale
    jax.tree.map(np.testing.assert_array_equal, weights.base, plain.base)


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("model.dense", 8, "--dense=8: joint_resnet50 has no dense layer"),
        ("extra.head", "svm", "--head=svm: joint_resnet50 classifies by its outlines"),
        ("extra.feature_copies", 3, "--feature_copies=3: joint_resnet50 keeps no features"),
        ("extra.weights", "random", "--fixed_statistics: --weights=random come with none"),
    ],
)
def test_options_that_such_a_network_does_not_have_are_one_clear_line(option, value, line):
    with pytest.raises(InputError, match=line):
        check_joint(preset("joint_resnet50").replace(option, value))


def test_vgg16_has_neither_a_dense_layer_nor_a_classical_head_where_it_outlines():
    assert options(JointVGG16).keys() == {"decoder", "features", "dropout", "dtype"}
    with pytest.raises(InputError, match="--head=svm: joint_vgg16 classifies by its outlines"):
        check_outlining(preset("joint_vgg16").replace("extra.head", "svm"))


@pytest.mark.parametrize("name", ["joint_efficientnet_b0", "joint_efficientnet_cpu", "joint_resnet50", "joint_vgg16"])
def test_a_preset_trains_the_trunk_at_a_tenth_of_the_decoders_rate(name):
    config = preset(name)
    shapes = jax.eval_shape(lambda key: config.task().initialise(key, 64), jax.random.key(0))["params"]
    rates = parse_rates(config.training.layer_rates)
    for stage, leaves in rate_names(shapes, rates).items():
        found = {rates[int(leaf.removeprefix("rate_"))].factor for leaf in jax.tree.leaves(leaves)}
        assert found == {0.1 if stage in config.model.trunk else 1.0}, stage
