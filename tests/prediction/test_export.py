"""A run as a file that needs no btjax."""

import ast
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import btjax
from btjax.base.errors import InputError
from btjax.commands.export import export
from btjax.commands.predict import PredictOptions
from btjax.data.phantom import make_phantom

SIZE = 32


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = btjax.preset("cnn_demo").replace("data.phantom_patients", 8).replace("data.image_size", SIZE)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return btjax.train(config.replace("training.epochs", 1), tmp_path_factory.mktemp("run") / "run")


def expected(run, images):
    return np.array(
        [[*one.probabilities.values()] for one in btjax.predict(run, images, PredictOptions(abstain=False))]
    )


FLATBUFFERS = "needs flatbuffers, of the extra `export`"


def test_stablehlo_gives_the_same_probabilities_for_any_number_of_slices(run, tmp_path):
    pytest.importorskip("flatbuffers", reason=FLATBUFFERS)
    from jax import export as jax_export

    paths = export(run, tmp_path / "out", ["stablehlo"])
    model = jax_export.deserialize(bytearray(paths["stablehlo"].read_bytes()))
    assert set(model.platforms) == {"cpu", "cuda", "tpu"}
    heads = make_phantom(2, 2, SIZE, seed=4).images
    for count in (1, 5):
        np.testing.assert_allclose(model.call(heads[:count]), expected(run, heads[:count]), atol=1e-4)
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    assert tuple(about["classes"]) == run.classes and about["image_size"] == SIZE and about["temperature"] > 0


def test_the_loader_runs_without_btjax(run, tmp_path):
    pytest.importorskip("flatbuffers", reason=FLATBUFFERS)
    export(run, tmp_path / "out", ["stablehlo"])
    head = make_phantom(1, 1, SIZE, seed=4).images[0]
    Image.fromarray(head).save(tmp_path / "head.png")
    command = [sys.executable, "-I", str(tmp_path / "out" / "load.py"), str(tmp_path / "head.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    values = ast.literal_eval(done.stdout.partition(" ")[2])
    (row,) = expected(run, [np.asarray(Image.open(tmp_path / "head.png"))])
    np.testing.assert_allclose([values[name] for name in run.classes], row, atol=1e-3)
    text = (tmp_path / "out" / "load.py").read_text()
    assert "import btjax" not in text and len(text.splitlines()) <= 11


def test_safetensors_holds_every_variable_and_the_metadata(run, tmp_path):
    safe = pytest.importorskip("safetensors", reason="needs safetensors, of the extra `export`")
    path = export(run, tmp_path / "out", ["safetensors"])["safetensors"]
    with safe.safe_open(path, "numpy") as file:
        assert json.loads(file.metadata()["classes"]) == list(run.classes)
        np.testing.assert_array_equal(file.get_tensor("params/dense/bias"), run.variables["params"]["dense"]["bias"])
        assert len(file.keys()) == len(jax.tree.leaves(run.variables))


def test_onnx_gives_the_same_probabilities(run, tmp_path):
    pytest.importorskip("jax2onnx", reason="needs jax2onnx")
    if jax.__version_info__ >= (0, 11):
        pytest.skip("jax2onnx 0.17 does not run under jax 0.11 and later")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra `export`")
    path = export(run, tmp_path / "out", ["onnx"])["onnx"]
    session = onnxruntime.InferenceSession(str(path))
    heads = make_phantom(2, 2, SIZE, seed=4).images
    for count in (1, 5):
        (found,) = session.run(None, {session.get_inputs()[0].name: heads[:count]})
        np.testing.assert_allclose(found, expected(run, heads[:count]), atol=1e-4)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(run.classes)


def test_an_unknown_form_and_a_filled_folder_are_refused(run, tmp_path):
    with pytest.raises(InputError, match="--to=keras"):
        export(run, tmp_path / "a", ["keras"])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").touch()
    with pytest.raises(InputError, match="not empty"):
        export(run, tmp_path / "b")


def test_portable_convolution_and_pooling_are_the_same_up_to_rounding(run):
    from btjax.nn.portable import portable

    heads = make_phantom(2, 2, SIZE, seed=4).images
    inputs = run.config.preprocessing(heads)
    usual = run.model.apply(run.variables, inputs)
    with portable():
        traced = jax.make_jaxpr(lambda x: run.model.apply(run.variables, x))(inputs)
        plain = run.model.apply(run.variables, inputs)
    assert "custom_vjp" not in str(traced).replace("custom_vjp_call[name=relu", "")
    np.testing.assert_allclose(plain, usual, atol=1e-4)
