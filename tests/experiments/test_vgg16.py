"""The transfer experiment as its users run it: on the phantom data set, with random numbers for weights."""

import os
import pathlib
import subprocess

import numpy as np
import pytest

import btjax
from btjax.base.errors import InputError
from btjax.base.files import read_json
from btjax.weights import vgg16
from tests.experiments import commands
from tests.weights.files import random_leaves, torchvision_state, write_legacy

TINY = """
--flagfile=experiments/flags/vgg16_paper.flags --data_dir=phantom --phantom_patients=8 --phantom_slices=3
--image_size=32 --protocol=patient --dense=8 --epochs=2 --seed=1
""".split()


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return os.environ | {"BTJAX_CACHE": str(cache)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> pathlib.Path:
    return write_legacy(tmp_path_factory.mktemp("weights") / "vgg16.h5", random_leaves())


def run(environment, *flags, module="vgg16") -> subprocess.CompletedProcess:
    return commands.run(environment, module, *flags)


@pytest.fixture(scope="module")
def finished(environment, weights, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("runs") / "frozen"
    done = run(environment, *TINY, f"--weights={weights}", f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    return folder


def test_a_run_reports_its_features_and_its_model_comes_back(environment, finished, weights):
    report = read_json(finished / "report.json")
    assert report["system"] == "vgg16"
    assert report["training"]["features"].startswith("flatten, computed once")
    restored = btjax.restore(finished)
    published = vgg16.load(weights).base["params"]["block3_conv2"]["kernel"]
    np.testing.assert_array_equal(restored.variables["params"]["block3_conv2"]["kernel"], published)
    slices = np.zeros((2, 32, 32), np.uint8)
    assert restored.probabilities(slices).shape == (2, 3)


def test_evaluating_needs_no_weights_and_gives_the_same_scores(environment, finished):
    before = read_json(finished / "report.json")
    done = run(environment, *TINY, f"--workdir={finished}", "--eval_only")
    assert done.returncode == 0, done.stderr
    after = read_json(finished / "report.json")
    assert after["test"]["confusion_matrix"] == before["test"]["confusion_matrix"]


@pytest.mark.parametrize("head", ["knn", "svm", "linear_probe"])
def test_a_classical_head_is_reported_restored_and_evaluated_like_any_run(environment, weights, tmp_path, head):
    folder = tmp_path / head
    done = run(environment, *TINY, f"--head={head}", f"--weights={weights}", f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    report = read_json(folder / "report.json")
    assert report["training"]["head"] == head and report["test"]["slices"] > 0
    assert (folder / "report.html").stat().st_size > 10_000
    restored, slices = btjax.restore(folder), btjax.make_phantom(8, 3, 32)
    kept = restored.predictions
    np.testing.assert_array_equal(kept.ids, slices.ids)
    np.testing.assert_allclose(restored.logits(slices.images), kept.logits, rtol=1e-3, atol=1e-3)
    assert kept.side("test").accuracy == pytest.approx(report["test"]["accuracy"])
    with pytest.raises(InputError, match=f"its head is {head}, which has no gradient"):
        btjax.explain(restored, slices.images[:1])
    again = run(environment, *TINY, f"--head={head}", f"--weights={weights}", f"--workdir={folder}")
    assert again.returncode == 2 and "holds a run already" in again.stderr.splitlines()[-1]
    if head == "knn":
        evaluated = run(environment, *TINY, f"--head={head}", f"--workdir={folder}", "--eval_only")
        assert evaluated.returncode == 0, evaluated.stderr
        assert read_json(folder / "report.json")["test"]["accuracy"] == report["test"]["accuracy"]


def test_converted_torchvision_weights_train_under_their_own_scale_alone(environment, tmp_path, safetensors):
    safetensors.numpy.save_file(torchvision_state(random_leaves()), tmp_path / "vgg16.safetensors")
    converted = tmp_path / "converted"
    done = run(environment, tmp_path / "vgg16.safetensors", converted, module="convert_vgg16")
    assert (done.returncode, done.stdout) == (0, f"13 layers, --scale=torch: {converted}\n"), done.stderr
    flags = [*TINY, f"--weights={converted}", f"--workdir={tmp_path / 'run'}"]
    refused = run(environment, *flags)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (f"vgg16: --scale=caffe: the weights in {converted} expect --scale=torch")
    accepted = run(environment, *flags, "--scale=torch", "--epochs=1")
    assert accepted.returncode == 0, accepted.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "vgg16: --weights is missing"),
        (["--weights=nowhere.h5"], "vgg16: --weights=nowhere.h5: not found"),
        (["--weights=random", "--head=svm"], "vgg16: --head=svm: needs features"),
        (["--weights=random", "--layer_rates=block*=0"], "vgg16: --layer_rates: no pattern matches the parameter"),
        (["--weights=random", "--colour=grey"], "vgg16: --scale=caffe: works on three channels"),
    ],
)
def test_a_mistake_ends_in_one_line(environment, tmp_path, flags, message):
    done = run(environment, *TINY, f"--workdir={tmp_path / 'run'}", *flags)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(message), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
