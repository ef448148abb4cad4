"""Small networks with random variables, and images half of which is black, as around a head."""

import jax
import numpy as np
import pytest

from btjax.models.cnn import CNN
from btjax.saliency.classifier import Classifier
from tests.nn.networks import Inception, Residual


@pytest.fixture(scope="session")
def small_images() -> np.ndarray:
    """float32 [4, 16, 16, 2] in [0, 1]; the left half is 0, so that max pools meet ties."""
    images = np.random.default_rng(0).random((4, 16, 16, 2), np.float32)
    images[:, :, :8] = 0
    return images


@pytest.fixture(scope="session")
def small_targets() -> np.ndarray:
    return np.array([0, 1, 2, 1], np.int32)


def random_classifier(model, images, seed=1) -> Classifier:
    """The model with variables as of a trained one: no bias is zero, no statistic that of a fresh network."""
    generator = np.random.default_rng(seed)

    def draw(path, leaf):
        if path[-1].key in ("scale", "var"):
            values = generator.uniform(0.5, 1.5, leaf.shape)
        else:
            scale = 0.1 if leaf.ndim == 1 else np.sqrt(2 / np.prod(leaf.shape[:-1]))
            values = scale * generator.standard_normal(leaf.shape)
        return values.astype(np.float32)

    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    return Classifier(model, jax.tree_util.tree_map_with_path(draw, shapes))


@pytest.fixture(scope="session")
def small_classifier(small_images) -> Classifier:
    """Convolutions to 8 and 12 channels, each with a max pool, and a dense layer of 32."""
    return random_classifier(CNN(widths=(8, 12), pools=2, dense=32), small_images)


@pytest.fixture(scope="session", params=[Residual, Inception], ids=["residual", "inception"])
def branched(request, small_images) -> Classifier:
    """A residual network with batch normalisation; or one of two branches, whose input travels beside their output."""
    return random_classifier(request.param(), small_images)
