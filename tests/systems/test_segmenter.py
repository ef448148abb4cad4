"""The segmenter as people use it: trained with masks, it outlines slices without."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import btjax
from btjax.base.errors import InputError
from btjax.commands.audit import audit_runs
from btjax.commands.saliency import saliency
from btjax.data.phantom import make_phantom
from btjax.runs.report import SegmentationReport
from btjax.studies.data import split_of
from btjax.studies.outlines import with_outlines
from btjax.studies.subject import SaliencyConfig
from btjax.systems.config import Config
from btjax.systems.segmenter import segmenter_config
from experiments.summaries import collect
from experiments.tables.page import tables
from tests.experiments import commands

TINY = """
--system=segmenter --data_dir=phantom --phantom_patients=6 --phantom_slices=3 --image_size=32 --protocol=patient
--colour=grey --scale=standard --width=8 --halvings=2 --convolutions=1 --batch_size=4 --epochs=3 --learning_rate=0.01
--select=validation_dice --flip
""".split()


def run_train(*flags, expect=0):
    done = commands.run(os.environ, "train", *TINY, *flags)
    assert done.returncode == expect, done.stderr
    return done.stdout if expect == 0 else done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run trained by the command, and what the command printed."""
    folder = tmp_path_factory.mktemp("segmenter") / "run"
    return run_train(f"--workdir={folder}"), btjax.restore(folder)


@pytest.fixture
def run(trained):
    return trained[1]


def test_the_command_prints_the_dice_with_its_interval(trained, run):
    test = run.report.test
    assert f"test Dice {test.dice.value:.3f} ({test.dice.ci95[0]:.3f} to" in trained[0]
    assert str(run.folder / "report.html") in trained[0]


def test_the_reports_dice_is_that_of_the_outlines_of_the_test_rows(run):
    report, outlines, slices = run.report, run.outlines, make_phantom(6, 3, 32, 0)
    assert isinstance(report, SegmentationReport) and len(outlines) == len(slices)
    np.testing.assert_array_equal(outlines.ids, slices.ids)
    for side in ("test", "validation"):
        scores, values = getattr(report, side), []
        for row in np.flatnonzero(outlines.sides == side):
            mask, outline = slices.masks[row], outlines.masks[row]
            values.append(2 * np.sum(mask & outline) / (np.sum(mask) + np.sum(outline)))
        assert scores.dice.value == pytest.approx(np.mean(values)) and scores.slices == len(values)
    assert report.test.dice.value > 0.3, "three epochs of phantoms outline something"
    assert (report.test.interval.unit, report.test.interval.units) == ("patient", report.counts["test"].patients)


def test_slices_without_masks_are_outlined_as_those_of_the_run_were(run):
    slices = dataclasses.replace(make_phantom(6, 3, 32, 0), masks=None)
    rows = np.flatnonzero(run.outlines.sides == "test")
    found = run.outline(slices.images[rows], batch_size=4)
    assert found.dtype == bool and found.shape == (len(rows), 32, 32)
    assert np.mean(found != run.outlines.masks[rows]) < 1e-3
    with pytest.raises(ValueError, match="expected uint8"):
        run.outline(slices.images[:1].astype(np.float32))


def test_the_page_shows_scores_of_each_class_and_the_figures(run):
    page = (run.folder / "report.html").read_text()
    for text in ("Dice", "Recall of pixels", "Pointing", *(name.capitalize() for name in run.classes)):
        assert text in page
    assert page.count("<img") == 2 and (run.folder / "figures" / "outlines.png").exists()


def test_an_evaluation_and_a_resumed_run_write_the_same_outlines(run):
    before, report = run.outlines, run.report
    assert btjax.evaluate(run).test == report.test
    np.testing.assert_array_equal(run.outlines.bits, before.bits)
    run_train(f"--workdir={run.folder}", "--resume")
    assert run.report.test == report.test


def test_other_masks_of_the_same_slices_are_refused(run, monkeypatch):
    slices = make_phantom(6, 3, 32, 0)
    other = dataclasses.replace(slices, masks=np.roll(slices.masks, 1, axis=1))
    monkeypatch.setattr("btjax.data.dataset.make_phantom", lambda *_: other)
    for resume in (False, True):
        with pytest.raises(InputError, match="--data_dir=phantom: the fingerprint of its masks is"):
            btjax.train(run.config, run.folder, resume=True) if resume else btjax.evaluate(run)


def test_what_asks_for_a_classifier_refuses_a_segmenter_in_one_line(run, tmp_path):
    told = "a segmenter, expected a classifier"
    with pytest.raises(InputError, match=told):
        audit_runs([run], tmp_path / "audit")
    with pytest.raises(InputError, match="a segmenter; expected a classifier"):
        saliency(run.folder, tmp_path / "maps", SaliencyConfig())
    with pytest.raises(InputError, match="--system=segmenter: a segmenter, expected a classifier"):
        btjax.run_ladder(run.config, tmp_path / "ladder", ["patient"], [0])
    with pytest.raises(InputError, match=told):
        btjax.compare_runs([run.folder, shutil.copytree(run.folder, tmp_path / "copy")], tmp_path / "compare")
    with pytest.raises(InputError, match=told):
        btjax.evaluate_on(run, "phantom", tmp_path / "other")
    with pytest.raises(InputError, match=told):
        run.logits(make_phantom(1, 1, 32, 0).images)


def test_a_classifier_outlines_nothing(tmp_path):
    (tmp_path / "run").mkdir()
    config = Config.default("cnn")
    run = btjax.Run(tmp_path / "run")
    run.__dict__["config"] = config
    with pytest.raises(InputError, match="a classifier, which outlines nothing; expected a segmenter's run"):
        run.outline(np.zeros((1, 512, 512), np.uint8))


def test_folds_refit_and_fewer_slices_work_together(tmp_path):
    printed = run_train(
        f"--workdir={tmp_path / 'folds'}", "--all_folds", "--folds=3", "--refit", "--select=last_epoch",
        "--train_slices=12", "--epochs=1", "--class_weights=balanced",
    )  # fmt: skip
    assert "test Dice of 3 runs: mean " in printed
    report = btjax.restore(tmp_path / "folds" / "fold_1").report
    assert report.validation is None and report.counts["train"].slices == 12


def test_data_without_masks_are_one_line(tmp_path):
    for name in ("glioma", "pituitary"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            image = np.random.default_rng(number).integers(0, 255, (32, 32)).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / "data" / name / f"{name}{number}.png")
    flags = [f"--data_dir={tmp_path / 'data'}", "--protocol=slice", f"--cache_dir={tmp_path / 'cache'}"]
    told = run_train(f"--workdir={tmp_path / 'run'}", *flags, expect=2)
    assert told.strip().splitlines()[-1] == (
        f"train: --data_dir={tmp_path / 'data'}: its slices have no tumour masks, which --system=segmenter trains on; "
        "expected a data set with masks, such as images/ and masks/"
    )


def test_permuted_labels_are_refused():
    config = Config.default("segmenter").replace("training.permuted_labels", True)
    with pytest.raises(InputError, match="--permuted_labels: a segmentation learns from masks"):
        segmenter_config(config)


def test_the_share_of_dice_reaches_the_task():
    assert Config.default("segmenter").replace("extra.dice_weight", 0.25).task().dice_weight == 0.25


def test_a_system_that_needs_outlines_takes_predicted_ones_where_it_is_tested(run, tmp_path):
    config = btjax.preset("cheng2015").replace("data.refit", False).replace("model.texture", "histogram")
    for name in ("data_dir", "phantom_patients", "phantom_slices", "protocol"):
        config = config.replace(f"data.{name}", getattr(run.config.data, name))
    config = config.replace("data.image_size", 64).replace("model.radius", 2)
    text = str(run.folder)
    slices = make_phantom(6, 3, 64, 0)
    split = split_of(slices, config)
    seen = with_outlines(config.replace("extra.outlines", text), slices, split)
    np.testing.assert_array_equal(seen.masks[split.train], slices.masks[split.train])
    np.testing.assert_array_equal(seen.masks[split.test][:, ::2, ::2], run.outlines.masks[split.test])
    assert (seen.masks[split.test] != slices.masks[split.test]).any()
    found = btjax.train(config.replace("extra.outlines", text), tmp_path / "run")
    assert found.report.test.slices == len(split.test)
    with pytest.raises(InputError, match=r"--outlines=.*: was trained on \d+ of the \d+ test slices"):
        btjax.train(config.replace("extra.outlines", text).replace("data.fold", 1), tmp_path / "other")


def test_slices_without_masks_have_the_outlines_everywhere(run):
    slices = dataclasses.replace(make_phantom(6, 3, 64, 0), masks=None)
    config = btjax.preset("cheng2015").replace("data.protocol", "patient")
    config = config.replace("extra.outlines", str(run.folder))
    seen = with_outlines(config, slices, split_of(slices, config.replace("data.refit", False)))
    np.testing.assert_array_equal(seen.masks[:, ::2, ::2], run.outlines.masks)


def test_the_results_page_has_a_row_for_each_run(run):
    text = tables({"segmenter_small": collect([run.folder])})
    assert f"**{run.report.test.dice.value:.3f} (" in text and "`patient`, fold 0, seed 0" in text
