"""The audit of finished runs: what is written, what is refused, and what the results page says of it."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

import btjax
from btjax.base.errors import InputError
from btjax.commands.audit import audit_runs, read_audit
from btjax.data.splits import make_split
from btjax.runs.run import Run
from experiments.results import ROOT
from experiments.summaries import collect
from experiments.tables import audits
from experiments.tables.page import tables


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two folds of a small network."""
    folder = tmp_path_factory.mktemp("audit")
    config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.phantom_patients", 10)
    config = config.replace("data.image_size", 32).replace("data.phantom_slices", 3).replace("data.protocol", "patient")
    config = config.replace("model.widths", (4, 4, 4, 4))
    options = {"cache_dir": folder / "cache"}
    configs = {f"fold_{fold}": config.replace("data.fold", fold) for fold in (0, 1)}
    return list(btjax.train_several(configs, folder / "runs", **options).values())


@pytest.fixture(scope="module")
def found(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    return folder, audit_runs(runs, folder)


def test_folds_are_pooled_and_scored_from_their_own_predictions(runs, found):
    tests = [run.predictions.side("test") for run in runs]
    right = np.concatenate([one.logits.argmax(axis=1) == one.labels for one in tests])
    assert found[1].rows == len(right)
    assert found[1].accuracy.value == pytest.approx(right.mean())
    assert found[1].runs == 2
    assert found[1].protocols == ("patient",)


def test_the_networks_are_run_on_slices_that_are_black_outside_the_head(found):
    assert "model_head_only" in [row.name for row in found[1].floors]


def test_what_is_written_is_what_was_found_and_the_page_says_it(found):
    folder, audit = found
    assert read_audit(folder) == audit
    page = (folder / "audit.html").read_text()
    assert "Outer 5 pixels at 64 px, linear" in page
    assert "all patient ids are of one source (P)" in page
    for flag in audit.flags:
        assert flag.sentence.replace("'", "&#39;") in page


def test_the_features_are_those_of_the_stage_below_the_logits(runs):
    run, slices = runs[0], btjax.make_phantom(2, 1, 32)
    features = run.features(slices.images)
    assert features.shape == (6, run.config.model.dense)
    kernel, bias = (np.asarray(run.variables["params"]["logits"][name]) for name in ("kernel", "bias"))
    np.testing.assert_allclose(features @ kernel + bias, run.logits(slices.images), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="no_stage"):
        run.features(slices.images, "no_stage")


def test_runs_that_do_not_belong_together_are_refused(runs, tmp_path):
    with pytest.raises(InputError, match="no runs to audit"):
        audit_runs([], tmp_path)
    other = Run(runs[1].folder)
    other.config = runs[1].config.replace("data.phantom_seed", 5)
    with pytest.raises(InputError, match="expected one data set"):
        audit_runs([runs[0], other], tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_audit_and_a_runs_own_folder_are_not_written_over(runs, found):
    folder, audit = found
    with pytest.raises(InputError, match="holds results of audit with network=True, now network=False"):
        audit_runs(runs, folder, network=False)
    with pytest.raises(InputError, match="not marked as a folder of audit"):
        audit_runs(runs, runs[0].folder, network=False)
    assert read_audit(folder) == audit


def test_another_data_set_than_the_runs_is_refused(runs, tmp_path):
    run = Run(runs[0].folder)
    run.config = run.config.replace("data.phantom_seed", 5)
    with pytest.raises(InputError, match="expected the same data set"):
        audit_runs([run], tmp_path, network=False)


def test_a_folder_without_an_audit_or_with_a_damaged_one_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match=r"audit.json: not found, expected an audit"):
        read_audit(tmp_path)
    (tmp_path / "audit.json").write_text('{"schema": 1}')
    with pytest.raises(InputError, match="damaged"):
        read_audit(tmp_path)
    (tmp_path / "audit.json").write_text('{"schema": 9}')
    with pytest.raises(InputError, match="audit of schema 9, expected 1"):
        read_audit(tmp_path)


def test_the_results_page_has_a_row_for_an_audit_and_its_sentences(found):
    folder, audit = found
    text = tables({"audit_cnn": collect([folder])})
    assert "## Shortcuts" in text
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {audit.title} |")]
    assert f"| {audit.rows} (2) |" in row
    for flag in audit.flags:
        assert f"- {flag.sentence}" in text
    assert "- not measured: source, since all patient ids are of one source (P)" in text


def test_the_results_page_says_what_differs_from_the_papers_experiment():
    config = btjax.preset("cnn_cpu").to_json()
    run = {"protocol": "slice", "config": config, "data": {"form": "zips", "synthetic": False}, "counts": {}}
    text = audits.deviations_table(run)
    assert "| size in pixels | 512 | 128 | stated |" in text
    assert "| data set |" in text
    assert "optimizer" not in text
    assert audits.deviations_table(run | {"data": {"form": "phantom", "synthetic": True}}) == ""
    assert audits.deviations_table(run | {"config": {"system": "cnn"}}) == ""
    assert "in words" in audits.deviations_table(run | {"data": "in words"})


def test_a_mistake_is_one_line(tmp_path):
    command = [sys.executable, "-m", "experiments.audit", "--runs=no/such/run", f"--workdir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "no/such/run/config.json: not found" in done.stderr


def test_predictions_of_another_split_are_refused(runs):
    from btjax.studies.audit import Outcome

    config = runs[0].config
    slices = btjax.make_phantom(config.data.phantom_patients, config.data.phantom_slices, 32)
    split = make_split(slices, "patient", 1, config.data.folds)
    with pytest.raises(ValueError, match="not the split's"):
        Outcome.of(runs[0].predictions, split)
    assert dataclasses.asdict(Outcome.of(runs[1].predictions, split))["training"] <= 1
