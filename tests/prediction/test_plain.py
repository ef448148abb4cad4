"""Weights in the layouts of PyTorch and Keras: the same numbers come out of networks written in those libraries."""

import importlib.util
import json

import jax
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.prediction.plain import require_plain, torch_plan, write_keras_vgg16, write_torch
from btjax.runs.run import Run
from btjax.systems.config import Config
from btjax.weights import vgg16
from btjax.weights.exchange import torch_state

SIZE = 32

pytestmark = pytest.mark.usefixtures("standard_promotion")


class Stub(Run):
    """A run that was never trained: a config and random variables, with statistics that are not those of a start."""

    def __init__(self, config, folder):
        super().__init__(folder)
        task = config.task()
        variables = task.initialise(jax.random.key(3), config.data.image_size)
        random = np.random.default_rng(0)

        def shaken(path, leaf):
            small = random.normal(size=leaf.shape).astype(np.float32) / 10
            return np.abs(1 + small) if path[-1].key == "var" else np.asarray(leaf) + small

        self.__dict__.update(config=config, variables=jax.tree_util.tree_map_with_path(shaken, variables), head=None)


def stub(system, folder, **options):
    config = Config.default(system).replace("data.image_size", SIZE)
    for name, value in options.items():
        config = config.replace(name.replace("__", "."), value)
    return Stub(config, folder)


RUNS = {
    "cnn": {"model__widths": (4, 6), "model__pools": 1, "model__dense": 5, "preprocessing__scale": "standard"},
    "cnn_valid": {"model__widths": (4, 6, 3), "model__padding": "valid", "model__pools": 2, "model__dense": 5},
    "vgg16": {"preprocessing__colour": "grey3", "preprocessing__scale": "caffe", "model__dense": 4},
    "vgg16_mean": {"preprocessing__colour": "grey3", "preprocessing__scale": "torch", "model__pooling": "average"},
    "unet": {"model__width": 4, "preprocessing__scale": "signed"},
    "encoder_classifier": {"model__width": 4, "model__levels": 5, "preprocessing__colour": "grey"},
}


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE)).astype(np.uint8)


@pytest.mark.parametrize("name", RUNS)
def test_the_written_module_gives_btjaxs_outputs(name, images, torch, safetensors, tmp_path):
    run = stub(name.removesuffix("_valid").removesuffix("_mean"), tmp_path, **RUNS[name])
    preprocessing = {"colour": run.config.preprocessing.colour, "scale": run.config.preprocessing.scale}
    about = {"preprocessing": preprocessing, "torch": torch_plan(run)}
    (tmp_path / "model.json").write_text(json.dumps(about))
    write_torch(run, tmp_path, about)
    found = importlib.util.spec_from_file_location("model_torch", tmp_path / "model_torch.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    model, inputs = module.load(tmp_path)
    with torch.no_grad():
        outputs = model(inputs(torch.from_numpy(images))).numpy()
    expected = run.outputs(images)
    outputs = outputs.transpose(0, 2, 3, 1) if outputs.ndim == 4 else outputs
    np.testing.assert_allclose(outputs, expected, atol=2e-4 * np.abs(expected).max())


def test_the_state_dict_fits_a_module_written_by_hand(images, torch, tmp_path):
    run = stub("cnn", tmp_path, **RUNS["cnn"])
    nn = torch.nn

    class ByHand(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv_1 = nn.Conv2d(3, 4, 3, padding=1)
            self.conv_2 = nn.Conv2d(4, 6, 3, padding=1)
            self.dense = nn.Linear(6 * 16 * 16, 5)
            self.logits = nn.Linear(5, 3)

        def forward(self, x):
            x = nn.functional.max_pool2d(self.conv_1(x).relu(), 2)
            return self.logits(self.dense(self.conv_2(x).relu().flatten(1)).relu())

    model = ByHand()
    state = torch_state(run.variables, {"dense": (16, 16, 6)})
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    inputs = np.asarray(run.config.preprocessing(images)).transpose(0, 3, 1, 2).copy()
    with torch.no_grad():
        found = model(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(found, run.outputs(images), atol=1e-5)


def test_kerass_files_give_keras_btjaxs_logits_and_are_read_again(images, keras, tmp_path):
    run = stub("vgg16", tmp_path, **RUNS["vgg16"])
    write_keras_vgg16(run, tmp_path, {"classes": ["a", "b"]})
    inputs, expected = np.asarray(run.config.preprocessing(images)), run.outputs(images)
    base = keras.applications.VGG16(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    base.load_weights(tmp_path / "vgg16_notop.h5")
    dense = [keras.layers.Dense(4, activation="relu", name="dense"), keras.layers.Dense(3, name="logits")]
    head = keras.Sequential([keras.Input(base.output_shape[1:]), keras.layers.Flatten(), *dense])
    head.load_weights(tmp_path / "vgg16_head.h5")
    with jax.numpy_rank_promotion("allow"):
        found = np.asarray(head(base(inputs)))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_btjaxs_own_loader_takes_kerass_file(tmp_path):
    run = stub("vgg16", tmp_path, **RUNS["vgg16"])
    path = write_keras_vgg16(run, tmp_path, {"classes": ["a", "b"]})
    weights = vgg16.load(path)
    assert weights.scale == "caffe"
    for layer, held in weights.params.items():
        for leaf, array in held.items():
            np.testing.assert_array_equal(array, run.variables["params"][layer][leaf])


def test_a_network_without_a_plain_counterpart_is_refused(tmp_path):
    run = stub("linear", tmp_path)
    for form in ("torch", "keras"):
        with pytest.raises(InputError, match=f"--to={form}: .* is a run of linear, expected one of"):
            require_plain(run, form)


def test_a_leaf_that_has_no_place_in_pytorch_is_a_mistake():
    with pytest.raises(ValueError, match="logits/phase"):
        torch_state({"params": {"logits": {"phase": np.zeros(3)}}}, {})
