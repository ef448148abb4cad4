"""What every backbone keeps: the protocol, the sizes, the published forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.models.efficientnet import VERSIONS, EfficientNet
from btjax.models.inception import Inception
from btjax.models.resnet import ResNet
from btjax.nn.network import check_network
from tests.models.backbones import SIZES, tiny

OTHERWISE = {"form": "torch", "fixed_statistics": False, "dense": 4}


@pytest.mark.parametrize("options", [{}, OTHERWISE], ids=["keras", "torch"])
@pytest.mark.parametrize("family", SIZES)
def test_a_backbone_keeps_the_protocol(family, options):
    check_network(tiny(family, **options), SIZES[family], 3)


def test_a_backbone_computes_in_bfloat16():
    model, inputs = tiny("efficientnet", dtype="bfloat16"), jnp.zeros((1, 32, 32, 3))
    variables = model.init(jax.random.key(0), inputs)
    assert model.apply(variables, inputs, stop="top").dtype == jnp.bfloat16
    assert model.apply(variables, inputs).dtype == jnp.float32


@pytest.mark.parametrize(
    ("model", "count", "width"),
    [
        (EfficientNet(), 4_049_564, 1280),
        (EfficientNet(version="b3"), 10_783_528, 1536),
        (EfficientNet(version="b7"), 64_097_680, 2560),
        (ResNet(), 23_587_712, 2048),
        (Inception(), 21_802_784, 2048),
    ],
    ids=["b0", "b3", "b7", "resnet50", "inception"],
)
def test_the_published_networks_have_the_published_numbers_of_parameters(model, count, width):
    size = model.smallest
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
    trunk = [tree[stage] for tree in shapes.values() for stage in model.trunk if stage in tree]
    assert sum(leaf.size for leaf in jax.tree.leaves(trunk)) == count
    assert shapes["params"]["logits"]["kernel"].shape == (width, 3)


def test_blocks_are_scaled_in_depth():
    counts = [len(EfficientNet(version=version).blocks) for version in VERSIONS]
    assert counts == [16, 23, 23, 26, 32, 39, 45, 55]


@pytest.mark.parametrize(("family", "smallest"), [("efficientnet", 32), ("resnet", 32), ("inception", 75)])
def test_smaller_slices_are_refused_in_one_line(family, smallest):
    model = tiny(family)
    model.check(smallest)
    with pytest.raises(InputError, match=f"--image_size={smallest - 1}: expected at least {smallest}"):
        model.check(smallest - 1)


def test_stochastic_depth_skips_whole_blocks_of_slices_and_keeps_the_mean():
    model = tiny("efficientnet", drop_path=0.9)
    assert [block["drop_path"] for block in model.blocks.values()] == pytest.approx([0.0, 0.3, 0.6])
    inputs = jax.random.normal(jax.random.key(1), (64, 32, 32, 3))
    variables = jax.jit(model.init)(jax.random.key(0), inputs[:1])
    below = model.apply(variables, inputs, stop="block2a")
    whole = model.apply(variables, below, start="block2a", stop="block2b") - below
    rngs = {"dropout": jax.random.key(3)}
    live = model.apply(variables, below, start="block2a", stop="block2b", train=True, rngs=rngs) - below
    skipped = np.abs(live).max(axis=(1, 2, 3)) < 1e-6
    assert 0.4 < skipped.mean() < 0.8
    np.testing.assert_allclose(live[~skipped], whole[~skipped] / 0.4, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", SIZES)
def test_fixed_statistics_make_training_the_inference_without_dropout(family):
    model = tiny(family, dropout=0.0, **({"drop_path": 0.0} if family == "efficientnet" else {}))
    inputs = jax.random.normal(jax.random.key(1), (2, SIZES[family], SIZES[family], 3))
    variables = jax.jit(model.init)(jax.random.key(0), inputs)
    settings = {"rngs": {"dropout": jax.random.key(2)}, "mutable": ["batch_stats"]}
    logits, updated = model.apply(variables, inputs, train=True, **settings)
    np.testing.assert_allclose(logits, model.apply(variables, inputs), rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, updated["batch_stats"], variables["batch_stats"])
