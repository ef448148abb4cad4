"""Runs of two and of four classes, from class folders to report, page and maps."""

import os
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

import btjax
from btjax.base.errors import InputError
from btjax.base.files import read_json
from tests.experiments.commands import run

NETWORK = """
--image_size=32 --colour=grey --widths=4,8 --pools=2 --dense=8 --batch_size=16 --epochs=2 --scale=standard
""".split()
FOUR = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")


def write_tree(folder: pathlib.Path, names, rows: int = 20, size: int = 40) -> pathlib.Path:
    """Class folders whose slices show a bright square in a place of their class."""
    random = np.random.default_rng(0)
    for index, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for row in range(rows):
            image = random.integers(0, 90, (size, size)).astype(np.uint8)
            place = 3 + index * (size - 14) // max(1, len(names) - 1)
            image[place : place + 8, 6:18] = random.integers(180, 255)
            Image.fromarray(image).save(folder / name / f"{name[:2]}_{row}.png")
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return os.environ | {"BTJAX_CACHE": str(cache)}


@pytest.fixture(scope="module")
def four(environment, tmp_path_factory):
    """Data of four classes and a run on them."""
    folder = tmp_path_factory.mktemp("four")
    data = write_tree(folder / "data", FOUR)
    done = run(environment, "cnn", *NETWORK, f"--data_dir={data}", f"--workdir={folder / 'run'}")
    assert done.returncode == 0, done.stderr
    return data, folder / "run"


def test_four_classes_are_reported_by_their_names(four):
    _, folder = four
    classes = ("meningioma", "glioma", "pituitary", "no_tumor")
    report = btjax.Run(folder).report
    assert report.classes == classes
    assert tuple(report.test.per_class) == classes and len(report.test.confusion_matrix) == 4
    assert np.sum(report.test.confusion_matrix) == report.test.slices
    assert sum(scores.support for scores in report.test.per_class.values()) == report.test.slices
    page = re.sub(r'"data:[^"]*"', '""', (folder / "report.html").read_text())
    for name in classes:
        assert name.replace("_", " ") in page.lower() or name in page.lower()
    config = read_json(folder / "config.json")
    assert config["classes"] == list(classes)


def test_a_run_of_four_classes_is_restored_and_explained(four):
    _, folder = four
    run = btjax.restore(folder)
    images = btjax.make_phantom(1, 1, 32).images
    assert run.probabilities(images).shape == (3, 4)
    assert btjax.explain(run, images, "grad_cam").shape == (3, 32, 32)


def test_saliency_of_four_classes_draws_each(environment, four, tmp_path):
    _data, folder = four
    flags = [f"--checkpoint={folder}", f"--workdir={tmp_path / 'out'}", "--methods=gradient,grad_cam"]
    done = run(environment, "saliency", *flags, "--checked_slices=4")
    assert done.returncode == 0, done.stderr
    report = read_json(tmp_path / "out" / "saliency.json")
    assert report["classes"] == ["meningioma", "glioma", "pituitary", "no_tumor"]
    assert report["localisation"] is None and (tmp_path / "out" / "figures" / "gallery.png").exists()


def test_two_classes_train_under_any_names(environment, tmp_path):
    data = write_tree(tmp_path / "data", ("astrocytoma", "healthy"))
    done = run(environment, "cnn", *NETWORK, f"--data_dir={data}", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    report = btjax.Run(tmp_path / "run").report
    assert report.classes == ("astrocytoma", "no_tumor") and len(report.test.confusion_matrix) == 2


def test_a_run_of_four_classes_refuses_data_of_three(environment, four, tmp_path):
    _, folder = four
    data = write_tree(tmp_path / "three", ("glioma", "meningioma", "pituitary"))
    flags = [*NETWORK, f"--data_dir={data}", f"--workdir={folder}"]
    for action in ("--eval_only", "--resume"):
        done = run(environment, "cnn", *flags, action)
        assert done.returncode == 2
        assert "its 3 classes are meningioma, glioma, pituitary" in done.stderr.splitlines()[-1]
        assert "trained on 4" in done.stderr.splitlines()[-1]
    with pytest.raises(InputError, match="its 3 classes"):
        btjax.evaluate(folder, data_dir=str(data))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("glioma", "glioma_tumor", "pituitary"), "glioma_tumor"),
        (("glioma",), "glioma"),
        (("glioma_meningioma", "pituitary"), "glioma_meningioma"),
    ],
)
def test_class_folders_that_are_unclear_are_one_line(environment, tmp_path, names, message):
    data = write_tree(tmp_path / "data", names, rows=4)
    done = run(environment, "cnn", *NETWORK, f"--data_dir={data}", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert message in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_folds_of_the_papers_split_say_how_many_slices_they_test(environment, tmp_path):
    flags = "--data_dir=phantom --phantom_patients=8 --phantom_slices=4 --image_size=32 --protocol=slice".split()
    done = run(environment, "cnn", *NETWORK, *flags, "--epochs=1", "--all_folds", f"--workdir={tmp_path / 'folds'}")
    assert done.returncode == 0, done.stderr
    tested = sum(btjax.Run(tmp_path / "folds" / f"fold_{fold}").report.test.slices for fold in range(5))
    assert f"test {tested} of 96 slices" in done.stdout + done.stderr


def test_the_seed_and_the_split_can_vary_apart(environment, tmp_path):
    flags = "--data_dir=phantom --phantom_patients=8 --phantom_slices=3 --image_size=32 --split_seed=5".split()
    flags = [*NETWORK, *flags, "--epochs=1", "--seeds=0,1", f"--workdir={tmp_path / 'seeds'}"]
    done = run(environment, "cnn", *flags)
    assert done.returncode == 0, done.stderr
    runs = [btjax.Run(tmp_path / "seeds" / f"seed_{seed}") for seed in (0, 1)]
    assert runs[0].report.split == runs[1].report.split and runs[0].report.split.seed == 5
    assert not np.array_equal(runs[0].predictions.logits, runs[1].predictions.logits)
