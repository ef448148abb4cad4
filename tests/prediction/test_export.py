"""A run as a file that needs no btjax."""

import ast
import json
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import btjax
from btjax.base.errors import InputError
from btjax.base.files import read_json, write_json
from btjax.base.progress import Observer
from btjax.commands.export import export, known_typical
from btjax.commands.predict import PredictOptions
from btjax.data.phantom import make_phantom
from btjax.prediction.export import predictor
from btjax.prediction.latency import measure_latency
from btjax.prediction.metadata import metadata
from btjax.runs.seen import Eye, load_typical
from btjax.studies.typical import typical_of

SIZE = 32


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = btjax.preset("cnn_demo").replace("data.phantom_patients", 12).replace("data.image_size", SIZE)
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
        probabilities, strangeness = model.call(heads[:count])
        np.testing.assert_allclose(probabilities, expected(run, heads[:count]), atol=1e-4)
        assert strangeness.shape == (count,)
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    assert tuple(about["classes"]) == run.classes and about["image_size"] == SIZE and about["temperature"] > 0


def loaded(folder, *pictures):
    """What load.py says of pictures, a dictionary each, whether or not they are like those of the training."""
    write_json(folder / "model.json", read_json(folder / "model.json") | {"not_answered": None})
    command = [sys.executable, "-I", str(folder / "load.py"), *map(str, pictures)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [ast.literal_eval(line.partition(" ")[2]) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("levels", ["minmax", "percentile"])
def test_the_loader_prepares_slices_as_the_run_did_without_btjax(run, tmp_path, levels):
    pytest.importorskip("flatbuffers", reason=FLATBUFFERS)
    shutil.copytree(run.folder, tmp_path / "run")
    config = read_json(tmp_path / "run" / "config.json")
    config["data"]["intensity_range"] = levels
    write_json(tmp_path / "run" / "config.json", config)
    changed = btjax.restore(tmp_path / "run")
    export(changed, tmp_path / "out", ["stablehlo"])
    head = make_phantom(1, 1, SIZE + 8, seed=4).images[0]
    pictures = {"grey": head, "deep": head[:, 3:].astype(np.uint16) ** 2}  # 16 bits, and no square
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    paths = [tmp_path / f"{name}.png" for name in pictures]
    options = PredictOptions(abstain=False)
    for found, path in zip(loaded(tmp_path / "out", *paths), paths, strict=True):
        (answer,) = btjax.predict(changed, path, options)
        assert found == pytest.approx(answer.probabilities, abs=1e-4)
    text = (tmp_path / "out" / "load.py").read_text()
    assert "import btjax" not in text and len(text.splitlines()) <= 21


def test_the_loader_refuses_what_it_cannot_prepare(run, tmp_path):
    pytest.importorskip("flatbuffers", reason=FLATBUFFERS)
    shutil.copytree(run.folder, tmp_path / "run")
    config = read_json(tmp_path / "run" / "config.json")
    config["data"]["head_mask"] = True
    write_json(tmp_path / "run" / "config.json", config)
    export(btjax.restore(tmp_path / "run"), tmp_path / "out", ["stablehlo"])
    command = [sys.executable, "-I", str(tmp_path / "out" / "load.py"), "x.png"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.startswith("load.py: the network takes slices that are black outside")


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
        found, strange = session.run(None, {session.get_inputs()[0].name: heads[:count]})
        np.testing.assert_allclose(found, expected(run, heads[:count]), atol=1e-4)
        known = load_typical(run).strangeness(Eye(run).see(heads[:count]))
        np.testing.assert_allclose(strange, known, rtol=1e-3, atol=1e-3)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(run.classes)
    (timed,) = measure_latency(run, path, (2,))
    assert timed.batch == 2 and timed.btjax > 0 and timed.onnxruntime > 0


def test_what_the_file_calls_strange_is_what_btjax_does_not_answer(run):
    typical = typical_of(run)
    noise = np.random.default_rng(0).integers(0, 256, (12, SIZE, SIZE)).astype(np.uint8)
    images = np.concatenate([make_phantom(8, 2, SIZE, seed=0).images, noise])
    seen = Eye(run).see(images)
    probabilities, strangeness = predictor(run, typical)(jnp.asarray(images))
    np.testing.assert_allclose(strangeness, typical.strangeness(seen), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(probabilities, expected(run, images), atol=1e-5)
    answered = [answer.answered for answer in btjax.predict(run, images)]
    assert (np.asarray(strangeness) <= metadata(run, typical)["not_answered"]["above"]).tolist() == answered
    assert not any(answered[-12:]) and any(answered)


def test_every_file_tells_classes_temperature_licence_and_when_not_to_answer(run, tmp_path):
    safe = pytest.importorskip("safetensors", reason="needs safetensors, of the extra `export`")
    paths = export(run, tmp_path / "out", ["safetensors", "torch"])
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    assert about["licence"].startswith("Apache-2.0") and about["protocol"] == "patient"
    for path in paths.values():
        with safe.safe_open(path, "numpy") as file:
            told = file.metadata()
        assert json.loads(told["classes"]) == list(run.classes) and json.loads(told["temperature"]) > 0
        assert told["licence"] == about["licence"] and "not_answered" in told
        assert path.stat().st_mode & 0o044 == 0o044


def test_a_run_whose_data_set_is_gone_is_exported_with_a_note(run, tmp_path):
    copy = shutil.copytree(run.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("typical.npz"))
    config = json.loads((copy / "config.json").read_text())
    config["data"]["data_dir"] = str(tmp_path / "gone")
    config.pop("sha256", None)
    (copy / "config.json").write_text(json.dumps(config))
    said = []
    observer = Observer()
    observer.on_message = said.append
    assert known_typical(btjax.restore(copy), None, observer, None) is None
    assert "answer whatever they are given" in said[0] and metadata(btjax.restore(copy))["not_answered"] is None


def test_an_unknown_form_another_network_and_a_filled_folder_are_refused(run, tmp_path):
    with pytest.raises(InputError, match="--to=tflite"):
        export(run, tmp_path / "a", ["tflite"])
    with pytest.raises(InputError, match=r"--to=keras: .* is a run of cnn, expected one of vgg16"):
        export(run, tmp_path / "a", ["keras"])
    assert not (tmp_path / "a").exists()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").touch()
    with pytest.raises(InputError, match="not empty"):
        export(run, tmp_path / "b")


def test_an_export_that_was_stopped_is_made_again_and_no_other_is_written_over_it(run, tmp_path, monkeypatch):
    pytest.importorskip("safetensors", reason="needs safetensors, of the extra `export`")

    def full(*_):
        raise InputError("no room")

    with monkeypatch.context() as patch:
        patch.setattr("btjax.commands.export.write_card", full)
        with pytest.raises(InputError, match="no room"):
            export(run, tmp_path / "out", ["safetensors"])
    assert (tmp_path / "out" / "model.safetensors").exists()
    export(run, tmp_path / "out", ["safetensors"])
    assert (tmp_path / "out" / "MODEL_CARD.md").exists()
    with pytest.raises(InputError, match=r"holds results of export with forms=\['safetensors'\], now"):
        export(run, tmp_path / "out", ["torch"])


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
