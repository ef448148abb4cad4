"""A small network with random weights and biases, and images half of which is black, as around a head."""

import jax
import numpy as np
import pytest

from btjax.models.cnn import CNN
from btjax.saliency.classifier import Classifier


@pytest.fixture(scope="session")
def small_images() -> np.ndarray:
    """float32 [4, 16, 16, 2] in [0, 1]; the left half is 0, so that max pools meet ties."""
    images = np.random.default_rng(0).random((4, 16, 16, 2), np.float32)
    images[:, :, :8] = 0
    return images


@pytest.fixture(scope="session")
def small_targets() -> np.ndarray:
    return np.array([0, 1, 2, 1], np.int32)


@pytest.fixture(scope="session")
def small_classifier(small_images) -> Classifier:
    """Convolutions to 8 and 12 channels, each with a max pool, and a dense layer of 32."""
    model = CNN(widths=(8, 12), pools=2, dense=32)
    generator = np.random.default_rng(1)

    def draw(leaf):
        scale = 0.1 if leaf.ndim == 1 else np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return (scale * generator.standard_normal(leaf.shape)).astype(np.float32)

    shapes = jax.eval_shape(model.init, jax.random.key(0), small_images)
    return Classifier(model, jax.tree.map(draw, shapes))
