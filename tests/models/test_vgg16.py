"""VGG16 with ImageNet's weights against Keras and PyTorch, activation by activation."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from btjax.base.errors import InputError
from btjax.data.preprocess import Preprocessing, scale_inputs
from btjax.models.vgg16 import CONVOLUTIONS, VGG16
from btjax.weights import vgg16 as weights_of

OBSERVED = (*CONVOLUTIONS, "block5_pool")


@pytest.fixture(scope="module")
def pictures(real_slices_dir) -> np.ndarray:
    """float32 [3, 224, 224, 3] in [0, 1]: two real slices in viridis and a photograph."""
    paths = sorted((real_slices_dir / "images").iterdir())[5:2000:1500]
    slices = np.stack([np.asarray(Image.open(path).convert("L").resize((224, 224))) for path in paths])
    photograph = Image.fromarray(load_sample_image("flower.jpg")).resize((224, 224))
    coloured = np.asarray(Preprocessing("viridis", "unit")(jnp.asarray(slices)))
    return np.concatenate([coloured, np.asarray(photograph, np.float32)[None] / 255])


@pytest.fixture(scope="module")
def activations(pictures, vgg16_weights) -> dict[str, np.ndarray]:
    """Ours, by layer, and the inputs."""
    variables, model = weights_of.load(vgg16_weights).base, VGG16()
    hidden = scale_inputs(jnp.asarray(pictures), "caffe")
    found, start = {"inputs": np.asarray(hidden)}, None
    for layer in model.layers[: model.layers.index("block5_pool") + 1]:
        hidden = model.apply(variables, hidden, start=start, stop=layer)
        found[layer], start = np.asarray(hidden), layer
    return found


def assert_close(found, expected, name):
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error <= 1e-5, f"{name}: relative error {error}"


def test_every_activation_is_that_of_keras(activations, keras, pictures, vgg16_weights):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        reference = keras.applications.VGG16(include_top=False, weights=None, input_shape=(224, 224, 3))
        reference.load_weights(vgg16_weights)
        inputs = keras.applications.vgg16.preprocess_input(pictures * np.float32(255))
        np.testing.assert_allclose(activations["inputs"], inputs, atol=2e-5)
        layers = [reference.get_layer(name).output for name in OBSERVED]
        expected = keras.Model(reference.input, layers)(inputs)
    for name, values in zip(OBSERVED, expected, strict=True):
        assert_close(activations[name], np.asarray(values), name)


def test_every_activation_is_that_of_pytorch(activations, torch, vgg16_weights):
    params = weights_of.load(vgg16_weights).params
    hidden = torch.tensor(activations["inputs"].transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        for name in CONVOLUTIONS:
            if name.endswith("conv1") and not name.startswith("block1"):
                hidden = torch.nn.functional.max_pool2d(hidden, 2)
            kernel = torch.tensor(params[name]["kernel"].transpose(3, 2, 0, 1).copy())
            hidden = torch.nn.functional.conv2d(hidden, kernel, torch.tensor(params[name]["bias"]), padding=1).relu()
            assert_close(activations[name].transpose(0, 3, 1, 2), hidden.numpy(), name)


def test_the_chain_has_keras_names_and_shapes():
    model = VGG16()
    assert model.layers[:6] == (
        "block1_conv1", "block1_conv2", "block1_pool", "block2_conv1", "block2_conv2", "block2_pool",
    )  # fmt: skip
    assert model.layers[-5:] == ("block5_conv3", "block5_pool", "flatten", "dense", "logits")
    inputs = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)["params"]
    chex.assert_shape(shapes["dense"]["kernel"], (25088, 128))
    chex.assert_shape(shapes["logits"]["kernel"], (128, 3))
    assert sum(leaf.size for name in CONVOLUTIONS for leaf in jax.tree.leaves(shapes[name])) == 14_714_688


@pytest.mark.parametrize(
    ("options", "units"),
    [({"pooling": "average"}, (512, 128)), ({"pooling": "average", "dense": 0}, (512, 3)), ({"dense": 7}, (25088, 7))],
)
def test_the_head_is_what_the_options_say(options, units):
    model = VGG16(**options)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32))
    first = "dense" if model.dense else "logits"
    chex.assert_shape(shapes["params"][first]["kernel"], units)


def test_the_imagenet_top_has_the_published_number_of_parameters():
    model = VGG16(imagenet_top=True)
    inputs = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 138_357_544
    outputs = jax.eval_shape(lambda params, x: model.apply({"params": params}, x), shapes, inputs)
    chex.assert_shape(outputs, (1, 1000))
    expected = weights_of.expected_shapes(top=True)
    assert {
        f"{layer}/{kind}": leaf.shape for layer, leaves in shapes.items() for kind, leaf in leaves.items()
    } == expected


def test_slices_that_five_pools_would_halve_to_nothing_are_refused():
    VGG16().check(32)
    with pytest.raises(InputError, match="--image_size=16"):
        VGG16().check(16)
