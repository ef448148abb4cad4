"""A trained network on another data set."""

import dataclasses
import os
import shutil

import msgspec
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

import btjax
from btjax.base.errors import InputError
from btjax.base.files import read_json
from btjax.data.phantom import make_phantom
from btjax.readers.slices import Slices
from btjax.studies.external import ExternalReport, match_classes
from experiments.summaries import collect
from experiments.tables.page import tables
from tests.experiments.commands import run

SIZE = 64


def pictures(count, seed):
    """Slices of three classes in turn, uint8 [count, SIZE, SIZE]: smooth noise, so that no two are alike."""
    noise = np.random.default_rng(seed).random((count, SIZE, SIZE))
    smooth = scipy.ndimage.gaussian_filter(noise, (0, 3, 3), mode="wrap")
    low, high = smooth.min((1, 2), keepdims=True), smooth.max((1, 2), keepdims=True)
    return Slices(
        images=np.rint((smooth - low) / (high - low) * 255).astype(np.uint8),
        labels=(np.arange(count) % 3).astype(np.int32),
        ids=np.arange(count).astype(str),
        sizes=np.full((count, 2), SIZE, np.int32),
    )


def write(folder, slices, rows, names):
    """Class folders of some slices; `names` are the folders in the order of the labels."""
    for row in rows:
        place = folder / names[slices.labels[row]]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(slices.images[row]).save(place / f"s{row:03d}.png")
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A run on class folders, and another data set.

    The other has 4 new slices of each class under other spellings, 3 copies of the run's own, and 3 without a tumour.
    """
    folder = tmp_path_factory.mktemp("evaluate")
    own, new = pictures(45, seed=1), pictures(15, seed=2)
    write(folder / "own", own, range(45), btjax.CLASSES)
    other = write(folder / "other", new, range(12), ("Meningioma", "glioma_tumor", "pituitary tumour"))
    for row in range(3):
        Image.fromarray(own.images[row]).save(other / "Meningioma" / f"copy_{row}.png")
    (other / "notumor").mkdir()
    for row in range(12, 15):
        Image.fromarray(new.images[row]).save(other / "notumor" / f"none_{row}.png")
    config = btjax.preset("cnn_demo").replace("data.data_dir", str(folder / "own"))
    for name, value in {"data.protocol": "slice", "data.image_size": SIZE, "training.epochs": 1}.items():
        config = config.replace(name, value)
    btjax.train(config.replace("model.widths", (4, 4, 4, 4)), folder / "run", cache_dir=folder / "cache")
    return folder


@pytest.fixture(scope="module")
def report(places):
    options = {"cache_dir": places / "cache"}
    return btjax.evaluate_on(places / "run", str(places / "other"), places / "out", **options)


def test_linked_slices_are_left_out_and_unknown_classes_are_not_scored(report):
    counts = report.counts
    assert counts.found == 12 + 3 + 3
    assert counts.unknown == {"no_tumor": 3}
    assert counts.copies == 3
    assert 3 <= sum(counts.linked.values()) < 15
    assert counts.tested == counts.found - 3 - sum(counts.linked.values())
    assert report.test.slices == counts.tested
    assert report.linked_too.slices == 15
    assert sum(report.unknown_predictions["no_tumor"].values()) == 3


def test_the_scores_are_those_of_the_restored_networks_predictions(places, report):
    run, other = btjax.restore(places / "run"), btjax.load(places / "other", SIZE, cache_dir=places / "cache")
    labels = match_classes(other, run.classes)
    called = run.logits(other.images).argmax(axis=1)
    known = labels >= 0
    assert report.linked_too.accuracy == pytest.approx(np.mean(called[known] == labels[known]))
    matrix = np.zeros((3, 3), int)
    np.add.at(matrix, (labels[known], called[known]), 1)
    assert np.array_equal(report.linked_too.confusion_matrix, matrix)


def test_the_report_is_kept_with_its_page_and_figures(places, report):
    kept = read_json(places / "out" / "report.json")
    assert msgspec.convert(kept, ExternalReport, strict=False) == report
    page = (places / "out" / "report.html").read_text()
    assert "accuracy on another data set" in page
    assert "Called glioma" in page
    assert {path.name for path in (places / "out" / "figures").iterdir()} == {"confusion.png", "mistakes.png"}


def test_without_links_every_slice_of_a_known_class_is_scored(places):
    report = btjax.evaluate_on(
        places / "run", str(places / "other"), places / "nolinks", links=False, cache_dir=places / "cache"
    )
    assert report.counts.linked is None
    assert report.counts.tested == 15
    assert "were not looked for" in (places / "nolinks" / "report.html").read_text()


def test_the_runs_own_slices_alone_leave_nothing_to_test(places):
    with pytest.raises(InputError, match="nothing to test on"):
        btjax.evaluate_on(places / "run", str(places / "own"), places / "same", cache_dir=places / "cache")
    assert not (places / "same").exists()


def test_a_folder_that_passes_for_the_runs_own_is_refused(places):
    with pytest.raises(InputError, match="expected the same data set"):
        btjax.evaluate_on(
            places / "run",
            str(places / "other"),
            places / "wrong",
            own_dir=str(places / "other"),
            cache_dir=places / "cache",
        )


def test_the_report_names_the_folder_that_the_runs_own_slices_were_read_from(places, report):
    assert report.own.dir == str(places / "own")
    moved = shutil.copytree(places / "own", places / "moved")
    found = btjax.evaluate_on(
        places / "run", str(places / "other"), places / "out2", own_dir=str(moved), cache_dir=places / "cache"
    )
    assert found.own.dir == str(moved) and found.counts == report.counts


def test_classes_are_matched_by_name():
    slices = dataclasses.replace(make_phantom(1, 1, 32), classes=("glioma", "edema", "meningioma"))
    assert match_classes(slices, btjax.CLASSES).tolist() == [[1, -1, 0][label] for label in slices.labels]
    with pytest.raises(InputError, match="the model knows none"):
        match_classes(dataclasses.replace(slices, classes=("a", "b", "c")), btjax.CLASSES)
    with pytest.raises(InputError, match="labels are not known"):
        match_classes(dataclasses.replace(slices, labels=None), btjax.CLASSES)


def test_the_command_prints_the_result_and_a_mistake_is_one_line(places):
    flags = [f"--checkpoint={places / 'run'}", "--nolinks"]
    flags += [f"--workdir={places / 'command'}", f"--cache_dir={places / 'cache'}"]
    done = run(os.environ, "evaluate", *flags, f"--data_dir={places / 'other'}")
    assert done.returncode == 0, done.stderr
    assert "on 15 slices" in done.stdout
    assert "does not know: 3 no_tumor" in done.stdout
    done = run(os.environ, "evaluate", *flags)
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "--data_dir" in done.stderr


def test_the_results_page_shows_what_was_tested_and_what_was_left_out(places, report):
    result = collect([places / "out"])
    assert "run" not in result
    assert "dir" not in result["other"]
    text = tables({"external": result})
    assert f"of {report.counts.tested} slices" in text
    assert "The model does not know no_tumor; its 3 slices are called" in text
    unlinked = btjax.evaluate_on(
        places / "run", str(places / "other"), places / "unlinked", links=False, cache_dir=places / "cache"
    )
    assert unlinked.linked_too is None
    assert "| not looked for |" in tables({"external": collect([places / "unlinked"])})
