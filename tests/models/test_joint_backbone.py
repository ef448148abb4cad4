"""Pretrained backbones that outline: the trunk is the backbone's own, the decoder meets its maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.models.efficientnet import EfficientNet, Group
from btjax.models.joint import attended
from btjax.models.joint_backbone import JointEfficientNet, JointResNet, JointVGG16
from btjax.models.resnet import ResNet
from btjax.models.vgg16 import VGG16
from btjax.nn.network import check_network

GROUPS = tuple(Group(3, 1, 4 + place, 2, 1 + bool(place)) for place in range(5))
TINY = {
    "efficientnet": (JointEfficientNet(groups=GROUPS, decoder=2, features=4), EfficientNet(groups=GROUPS)),
    "resnet": (JointResNet(counts=(1, 1, 1, 1), width=2, decoder=2, features=4), ResNet(counts=(1, 1, 1, 1), width=2)),
    "vgg16": (JointVGG16(decoder=2, features=4), VGG16()),
}


@pytest.fixture(params=TINY)
def pair(request):
    return TINY[request.param]


@pytest.mark.parametrize(
    ("name", "statistics"),
    [
        *((name, {"fixed_statistics": fixed}) for name in ("efficientnet", "resnet") for fixed in (True, False)),
        ("vgg16", {}),
    ],
)
def test_it_keeps_the_protocol(name, statistics):
    check_network(TINY[name][0].clone(**statistics), 32, 3)


def test_its_trunk_is_the_backbones(pair):
    joint, plain = pair
    inputs = jax.random.uniform(jax.random.key(0), (2, 64, 64, 3))
    variables = joint.init(jax.random.key(1), inputs)
    assert joint.trunk == plain.trunk and joint.activation is plain.activation
    same = {name: {stage: tree[stage] for stage in plain.trunk if stage in tree} for name, tree in variables.items()}
    expected = plain.apply(same, inputs, stop=plain.trunk[-1])
    found, kept = joint.apply(variables, inputs, stop=joint.trunk[-1])
    np.testing.assert_array_equal(found, expected)
    # Beside it the map for the classes, then the trunk's last map of each size, from a half on.
    assert [skip.shape[1] for skip in kept] == [2, 32, 16, 8, 4]
    np.testing.assert_array_equal(kept[0], expected)


def test_the_class_is_told_by_what_the_pixels_are_taken_for(pair):
    joint, _ = pair
    inputs = jax.random.uniform(jax.random.key(0), (2, 64, 64, 3))
    variables = joint.init(jax.random.key(1), inputs)
    pixels, (images, (smallest,)) = joint.apply(variables, inputs, stop="pixels")
    assert pixels.shape == (2, 32, 32, 4) and pixels.dtype == jnp.float32
    params = jax.device_get(variables["params"])
    attend, last = params["attend"], params["logits"]
    features = joint.activation(np.asarray(smallest) @ attend["kernel"][0, 0] + attend["bias"])
    pooled = np.asarray(attended(pixels, images, features)).sum(axis=(1, 2))
    logits = pooled @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(joint.apply(variables, inputs), logits, rtol=1e-4, atol=1e-5)


def test_slices_whose_maps_the_decoder_cannot_meet_are_one_clear_line(pair):
    joint, _ = pair
    with pytest.raises(InputError, match=rf"--image_size=100: .* a multiple of 32, .* maps of {type(joint).__name__}"):
        joint.init(jax.random.key(0), jnp.zeros((1, 100, 100, 3)))
