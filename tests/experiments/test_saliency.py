"""The saliency experiment as its users run it: on a tiny CNN and the phantom data set."""

import os
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from btjax.base.files import read_json, write_json
from btjax.data.phantom import make_phantom
from btjax.readers.slices import CLASSES
from tests.experiments.commands import run

DATA = "--data_dir=phantom --phantom_patients=8 --phantom_slices=4 --image_size=32 --protocol=patient".split()
NETWORK = "--colour=grey --widths=4,8 --pools=2 --dense=16 --batch_size=16 --epochs=2 --seed=1".split()
FEW = ["--samples=2", "--sampled_slices=8", "--costly_slices=6", "--checked_slices=3"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return os.environ | {"BTJAX_CACHE": str(cache)}


@pytest.fixture(scope="module")
def trained(environment, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("runs") / "cnn"
    done = run(environment, "cnn", *DATA, *NETWORK, f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def permuted(environment, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("runs") / "permuted"
    done = run(environment, "cnn", *DATA, *NETWORK, "--permuted_labels", "--select=last_epoch", f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def explained(environment, trained, permuted, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("saliency") / "out"
    methods = "--methods=gradient,smooth_grad,grad_cam,guided_backprop,occlusion"
    flags = [f"--checkpoint={trained}", f"--permuted_checkpoint={permuted}", f"--workdir={folder}", methods, *FEW]
    done = run(environment, "saliency", *flags)
    assert done.returncode == 0, done.stderr
    assert "average_precision" in done.stdout
    return folder


def test_every_score_of_every_method_stands_beside_chance_and_the_best_control(explained):
    whole = read_json(explained / "saliency.json")
    report = whole["localisation"]
    rows = [row for row in report["comparison"] if row["group"] == "all"]
    assert {row["method"] for row in rows} == {"gradient", "smooth_grad", "grad_cam", "guided_backprop", "occlusion"}
    assert {row["score"] for row in rows} == set(report["chance"])
    assert {row["method"] for row in report["controls"]} >= {"noise", "centre", "edges", "head", "class_mean_mask"}
    slices = {row["method"]: row["slices"] for row in rows}
    assert slices["occlusion"] == 6 and slices["smooth_grad"] == 8 and slices["gradient"] == whole["test_slices"] > 8
    assert {row["group"] for row in report["scores"]} >= {"all", "class", "size", "correctness"}


def test_slices_that_are_wrongly_classified_are_scored_apart(explained):
    whole = read_json(explained / "saliency.json")
    kept = {"method": "gradient", "score": "average_precision"}
    rows = [row for row in whole["localisation"]["comparison"] if kept.items() <= row.items()]
    (every,) = [row for row in rows if row["group"] == "all"]
    parts = {row["value"]: row for row in rows if row["group"] == "correctness"}
    right = round(whole["accuracy"] * every["slices"])
    counts = {"correct": right, "wrong": every["slices"] - right}
    assert {value: row["slices"] for value, row in parts.items()} == {name: n for name, n in counts.items() if n}
    assert every["mean"] == pytest.approx(sum(row["slices"] * row["mean"] for row in parts.values()) / every["slices"])
    assert "correctly and wrongly classified" in (explained / "saliency.html").read_text()


def test_randomisation_begins_with_the_trained_network_and_ends_with_permuted_labels(explained):
    found = read_json(explained / "saliency.json")["randomisation"]
    assert found["slices"] == 3
    for method in ("gradient", "grad_cam", "guided_backprop"):
        part = [row for row in found["rows"] if row["method"] == method]
        assert [row["layer"] for row in part] == ["trained", "logits", "dense", "conv_2", "conv_1", "permuted labels"]
        assert 0 < found["permuted_train_accuracy"] <= 1
        assert part[0]["spearman"] == pytest.approx(1) and part[0]["ssim"] == pytest.approx(1)
        for row in part:
            assert row["lost"] == pytest.approx(part[0]["average_precision"] - row["average_precision"])


def test_faithfulness_stands_beside_that_of_noise(explained):
    found = read_json(explained / "saliency.json")["faithfulness"]
    means = {(row["method"], row["score"]): row["mean"] for row in found["rows"]}
    methods = {"gradient", "smooth_grad", "grad_cam", "guided_backprop"}
    assert found["slices"] == 3
    for method in {*methods, "occlusion", "noise"}:
        assert 0 <= means[method, "insertion"] <= 1 and 0 <= means[method, "deletion"] <= 1
        assert -1 <= means[method, "sensitivity_n"] <= 1
    assert {method for method, measure in means if measure == "max_sensitivity"} == methods


def test_the_page_and_the_figures_are_there(explained):
    page = (explained / "saliency.html").read_text()
    assert page.count("<img") == len(list((explained / "figures").iterdir())) >= 7
    assert "better by (95%)" in page


def test_maps_that_are_there_are_not_made_again(environment, trained, explained):
    stamp = (explained / "maps" / "gradient.npy").stat().st_mtime_ns
    settings = read_json(explained / "settings.json")
    del settings["run"]["data"]["refit"]  # as an earlier version kept them, which did not know the option
    write_json(explained / "settings.json", settings)
    flags = [f"--checkpoint={trained}", f"--workdir={explained}", "--methods=gradient", *FEW]
    done = run(environment, "saliency", *flags)
    assert done.returncode == 0, done.stderr
    assert (explained / "maps" / "gradient.npy").stat().st_mtime_ns == stamp
    done = run(environment, "saliency", *flags, "--batch_size=3", "--checked_slices=4")
    assert done.returncode == 0, done.stderr
    assert (explained / "maps" / "gradient.npy").stat().st_mtime_ns == stamp
    refused = run(environment, "saliency", *flags, "--saliency_seed=3")
    assert refused.returncode == 2 and "other settings" in refused.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--methods=magic"], "saliency method 'magic': expected all, or some of gradient"),
        (["--methods=grad_cam", "--layer=conv_9"], "layer 'conv_9': expected one of conv_1"),
        (["--checkpoint=nowhere"], "nowhere/config.json: not found"),
        (["--permuted_checkpoint=nowhere"], "nowhere/config.json: not found"),
        (["--slices=nobody", "--methods=gradient"], "--slices=nobody: expected a test slice's id"),
        (["--data_dir=nowhere"], "nowhere"),
    ],
)
def test_a_mistake_ends_in_one_line(environment, trained, tmp_path, flags, message):
    done = run(environment, "saliency", f"--checkpoint={trained}", f"--workdir={tmp_path / 'out'}", *FEW, *flags)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_permuted_checkpoint_must_be_the_same_model_with_permuted_labels(environment, trained, permuted, tmp_path):
    flags = [f"--workdir={tmp_path / 'out'}", "--methods=gradient", *FEW]
    done = run(environment, "saliency", f"--checkpoint={trained}", f"--permuted_checkpoint={trained}", *flags)
    assert done.returncode == 2 and "expected a run with --permuted_labels" in done.stderr.splitlines()[-1]
    other = tmp_path / "other"
    shutil.copytree(permuted, other)
    write_json(other / "config.json", read_json(other / "config.json") | {"split": "another"})
    done = run(environment, "saliency", f"--checkpoint={trained}", f"--permuted_checkpoint={other}", *flags)
    assert done.returncode == 2 and "the fingerprint of its split is" in done.stderr.splitlines()[-1]


def test_bfloat16_arithmetic_gives_nearly_the_maps_of_float32(environment, trained, tmp_path):
    maps = []
    for arithmetic in ("float32", "bfloat16"):
        flags = [f"--checkpoint={trained}", f"--workdir={tmp_path / arithmetic}", f"--arithmetic={arithmetic}"]
        done = run(environment, "saliency", *flags, "--methods=grad_cam", *FEW)
        assert done.returncode == 0, done.stderr
        maps.append(np.load(tmp_path / arithmetic / "maps" / "grad_cam.npy"))
    assert not np.array_equal(*maps)
    np.testing.assert_allclose(*maps, atol=0.05 * np.abs(maps[0]).max())


def test_slices_without_masks_give_maps_and_say_that_scores_need_masks(environment, tmp_path):
    heads, data = make_phantom(8, 3, 32, 0), tmp_path / "data"
    for name in CLASSES:
        (data / name).mkdir(parents=True)
    for image, label, identity in zip(heads.images, heads.labels, heads.ids, strict=True):
        Image.fromarray(np.asarray(image)).save(data / CLASSES[label] / f"{identity}.png")
    flags = [f"--data_dir={data}", "--image_size=32", *NETWORK, "--epochs=1", f"--workdir={tmp_path / 'run'}"]
    done = run(environment, "cnn", *flags)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    flags = [f"--checkpoint={tmp_path / 'run'}", f"--workdir={out}", "--methods=gradient", *FEW]
    done = run(environment, "saliency", *flags)
    assert done.returncode == 0, done.stderr
    assert "scores need masks" in done.stdout
    assert read_json(out / "saliency.json")["localisation"] is None
    assert (out / "figures" / "gallery.png").exists()
