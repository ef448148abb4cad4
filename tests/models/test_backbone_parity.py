"""The backbones against Keras's, with every variable drawn at random: outputs, gradients, counts, statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from btjax.data.preprocess import scale_inputs
from btjax.models.efficientnet import EfficientNet
from btjax.models.inception import Inception
from btjax.models.resnet import ResNet
from btjax.weights.backbones import from_keras, load

pytestmark = pytest.mark.parity

PEERS = {
    "b0": (EfficientNet(), "EfficientNetB0", 64),
    "b3": (EfficientNet(version="b3"), "EfficientNetB3", 65),
    "resnet50": (ResNet(), "ResNet50", 64),
    "inception": (Inception(), "InceptionV3", 75),
}
NORMALISED = {"mean": [0.485, 0.456, 0.406], "variance": np.square([0.229, 0.224, 0.225])}


def drawn(name: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    if name in ("gamma", "moving_variance"):
        return random.uniform(0.7, 1.3, shape).astype(np.float32)
    if len(shape) == 4:
        inputs = np.prod(shape[:2]) if shape[-1] == 1 else np.prod(shape[:-1])
        return (np.sqrt(2 / inputs) * random.standard_normal(shape)).astype(np.float32)
    return (0.1 * random.standard_normal(shape)).astype(np.float32)


class Peer:
    """Keras's network with random variables, and ours with the same."""

    def __init__(self, keras, name):
        self.model, called, size = PEERS[name]
        self.reference = getattr(keras.applications, called)(
            include_top=False, weights=None, input_shape=(size, size, 3)
        )
        random, layers = np.random.default_rng(0), {}
        for layer in self.reference.layers:
            for variable in layer.weights:
                value = drawn(variable.name, tuple(variable.shape), random)
                if layer.name.startswith("normalization"):
                    value = np.asarray(NORMALISED.get(variable.name, 0), variable.dtype).reshape(variable.shape)
                variable.assign(value)
                layers.setdefault(layer.name, {})[variable.name] = np.asarray(variable)
            if layer.name.startswith("normalization"):
                layer.finalize_state()
            if hasattr(layer, "rate"):
                layer.rate = 0.0  # no stochastic depth
        self.weights = from_keras(layers, self.model, name)
        self.pixels = random.uniform(0, 255, (2, size, size, 3)).astype(np.float32)
        self.last = self.model.trunk[-1]

    def inputs(self, pixels):
        return scale_inputs(pixels / np.float32(255), self.weights.scale)

    def theirs(self, pixels, training=False):
        raw = pixels if isinstance(self.model, EfficientNet) else self.inputs(pixels)
        values = [[v.value for v in variables] for variables in self.variables]
        return self.reference.stateless_call(*values, raw, training=training)

    @property
    def variables(self):
        return self.reference.trainable_variables, self.reference.non_trainable_variables

    def ours(self, pixels):
        return self.model.apply(self.weights.base, self.inputs(pixels), stop=self.last)


@pytest.fixture(scope="module", params=PEERS)
def peer(request, keras):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return Peer(keras, request.param)


@pytest.fixture(autouse=True)
def lenient(strict_promotion):
    """Keras promotes types."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def assert_close(found, expected, tolerance=1e-4):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def test_outputs_and_input_gradients_are_those_of_keras(peer):
    shape = jax.eval_shape(peer.ours, peer.pixels).shape
    direction = np.random.default_rng(1).standard_normal(shape).astype(np.float32)

    def weighed(outputs):
        return jnp.sum(outputs * direction), outputs

    ours = jax.jit(jax.value_and_grad(lambda x: weighed(peer.ours(x)), has_aux=True))(peer.pixels)
    theirs = jax.jit(jax.value_and_grad(lambda x: weighed(peer.theirs(x)[0]), has_aux=True))(peer.pixels)
    assert_close(ours[0][1], theirs[0][1])
    assert_close(ours[1], theirs[1])


def test_there_are_as_many_parameters_as_keras_counts(peer):
    normalisation = 7 if isinstance(peer.model, EfficientNet) else 0
    ours = sum(leaf.size for leaf in jax.tree.leaves(peer.weights.base))
    assert ours == peer.reference.count_params() - normalisation


def test_statistics_after_a_training_step_are_those_of_keras(peer):
    model = peer.model.clone(fixed_statistics=False)
    model = model.clone(drop_path=0.0) if hasattr(model, "drop_path") else model
    # Over two values alone a normalisation gives their order, whatever their distance: eight images, not two.
    images = np.random.default_rng(2).uniform(0, 255, (8, *peer.pixels.shape[1:])).astype(np.float32)

    def step(pixels):
        settings = {"mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(0)}}
        return model.apply(peer.weights.base, peer.inputs(pixels), train=True, stop=peer.last, **settings)

    outputs, updated = jax.jit(step)(images)
    expected, state = jax.jit(lambda pixels: peer.theirs(pixels, training=True))(images)
    layers: dict = {}
    for variable, value in (*zip(peer.variables[0], [v.value for v in peer.variables[0]], strict=True),
                            *zip(peer.variables[1], state, strict=True)):  # fmt: skip
        layer, name = variable.path.split("/")[-2:]
        layers.setdefault(layer, {})[name] = np.asarray(value)
    expected_statistics = from_keras(layers, peer.model, "keras").base["batch_stats"]
    assert_close(outputs, expected, 1e-3)
    found = traverse_util.flatten_dict(updated["batch_stats"])
    for path, leaf in traverse_util.flatten_dict(expected_statistics).items():
        assert_close(found[path], leaf, 2e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of Keras
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_what_keras_saves_is_read_leaf_by_leaf(peer, tmp_path, suffix):
    path = tmp_path / f"saved{suffix}"
    peer.reference.save(path) if suffix == ".keras" else peer.reference.save_weights(path)
    found = load(path, peer.model)
    assert found.scale == peer.weights.scale
    jax.tree.map(np.testing.assert_array_equal, found.base, peer.weights.base)
