"""A release: one folder for others that gives the same outputs, checks by its sums, and tells no path."""

import csv
import os
import shutil
import subprocess
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import btjax
from btjax.base.errors import InputError
from btjax.commands.card import model_card
from btjax.commands.release import release
from btjax.data.phantom import make_phantom
from btjax.prediction import bundle
from btjax.prediction.bundle import SUMS, TABLE
from btjax.prediction.export import permitted_forms
from tests.experiments.commands import run as run_command

SIZE = 32


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = btjax.preset("cnn_demo").replace("data.phantom_patients", 8).replace("data.image_size", SIZE)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return btjax.train(config.replace("training.epochs", 1), tmp_path_factory.mktemp("machine_of_alice") / "run")


@pytest.fixture(scope="module")
def released(run, tmp_path_factory):
    return release(run, tmp_path_factory.mktemp("out") / "release")


def test_a_release_is_restored_with_the_same_outputs_answers_and_report(run, released):
    images = make_phantom(2, 2, SIZE, seed=4).images
    moved = btjax.restore(released.folder)
    np.testing.assert_array_equal(moved.logits(images), run.logits(images))
    assert moved.report.test == run.report.test and moved.classes == run.classes
    told = [(one.predicted, one.probabilities, one.fitting, one.typicality) for one in btjax.predict(moved, images)]
    assert told == [
        (one.predicted, one.probabilities, one.fitting, one.typicality) for one in btjax.predict(run, images)
    ]
    np.testing.assert_array_equal(moved.predictions.logits, run.predictions.logits)


@pytest.fixture(scope="module")
def exported(run) -> set[str]:
    """What tells of the exports, where the extra `export` allows any."""
    return {"exports/model.json"} if permitted_forms(run) else set()


def test_every_file_but_the_hidden_ones_has_its_sum(released, exported):
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd=released.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    listed = {line.split("  ", 1)[1] for line in (released.folder / SUMS).read_text().splitlines()}
    files = {path.relative_to(released.folder).as_posix() for path in released.folder.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith(".")} == listed | {SUMS}
    assert {"MODEL_CARD.md", "README.md", "config.json", "report.json", TABLE} | exported <= listed


def test_the_card_of_a_release_is_the_reports_and_names_what_is_there(released, exported):
    model_card(released, check=True)
    text = (released.folder / "MODEL_CARD.md").read_text()
    assert text == (released.folder / "README.md").read_text()
    for name in ("checkpoints", *exported, SUMS):
        assert f"- **`{name}`:**" in text
    assert "vgg16_notop.h5" not in text


def test_no_file_tells_where_the_run_stood_and_no_slice_is_in_it(run, released):
    for path in released.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"machine_of_alice" not in content and os.fsencode(os.getcwd()) not in content, path
            assert path.suffix not in (".png", ".html"), path


def test_the_table_holds_the_test_rows_with_the_calibrated_probabilities(run, released):
    with open(released.folder / TABLE, newline="") as file:
        rows = list(csv.DictReader(file))
    test = run.predictions.side("test")
    assert [row["slice"] for row in rows] == test.ids.tolist()
    right = np.mean([row["true"] == row["predicted"] for row in rows])
    np.testing.assert_allclose(right, run.report.test.accuracy)
    chances = np.array([[float(row[name]) for name in run.classes] for row in rows])
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-5)


def test_no_cell_of_the_table_is_a_formula(tmp_path, monkeypatch):
    names, classes = ["=1", " =1", "a.png", "@b"], ("=glioma", "+x", "plain")
    labels, logits = np.array([0, 1, 2, 0]), np.eye(4, 3, dtype=np.float32)
    predictions = SimpleNamespace(ids=names, classes=classes, labels=labels, logits=logits)
    run = SimpleNamespace(predictions=SimpleNamespace(side=lambda _: predictions))
    monkeypatch.setattr(bundle, "calibration_of", lambda _: (1.0, None))
    bundle.write_test_table(run, tmp_path)
    with open(tmp_path / TABLE, newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["slice", "true", "predicted", "'=glioma", "'+x", "plain"]
    assert [row[0] for row in rows] == ["'=1", "' =1", "a.png", "'@b"]
    assert [row[1] for row in rows] == ["'=glioma", "'+x", "plain", "'=glioma"]


def test_a_release_is_made_again_in_its_own_folder_and_in_no_other(run, released, tmp_path):
    before = (released.folder / SUMS).read_text()
    (released.folder / "README.md").write_text("changed")
    (released.folder / "release.log").write_text("a log")
    release(run, released.folder)
    assert (released.folder / SUMS).read_text() == before
    assert (released.folder / "release.log").read_text() == "a log"
    assert not list(released.folder.glob(".made*"))
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match="not empty and not marked as a folder of release"):
        release(run, tmp_path)
    with pytest.raises(InputError, match="is the run itself"):
        release(run, run.folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.txt"]


def test_a_release_of_other_weights_is_not_overwritten(run, released, tmp_path):
    config = run.config.replace("seed", 1)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        other = btjax.train(config, tmp_path / "other")
    with pytest.raises(InputError, match="holds results of release with run="):
        release(other, released.folder)


def test_a_run_without_a_report_is_refused_before_anything_is_written(run, tmp_path):
    copy = shutil.copytree(run.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("report.json"))
    with pytest.raises(InputError, match=r"report\.json: not found"):
        release(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_release_that_fails_leaves_nothing_half_made(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("btjax.commands.release.write_sums", full)
    with pytest.raises(InputError, match="could not be written"):
        release(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_makes_a_release(run, tmp_path):
    done = run_command(os.environ, "release", f"--checkpoint={run.folder}", f"--workdir={tmp_path / 'out'}")
    assert done.returncode == 0 and done.stdout.strip().endswith("out"), done.stderr
    assert (tmp_path / "out" / SUMS).exists()
