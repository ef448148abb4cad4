"""The model card: every number is the report's, and a card that says something else is refused."""

import dataclasses
import os
import re
import shutil

import jax
import msgspec
import numpy as np
import pytest
import yaml

import btjax
from btjax.base.errors import InputError
from btjax.base.files import read_json, write_json
from btjax.commands.card import model_card
from btjax.evaluation.estimates import Estimate
from btjax.evaluation.parts import GroupRow, SourceRow
from btjax.prediction.card import CARD, card, check_card
from btjax.prediction.card_tables import plain, table
from btjax.prediction.metadata import is_chengs, licence_of
from btjax.reports.numbers import percent, percent_with_interval
from btjax.runs.report import read_report
from btjax.runs.run import Run
from tests.experiments.commands import run as run_command

SIZE = 32


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    config = btjax.preset("cnn_demo").replace("data.phantom_patients", 8).replace("data.image_size", SIZE)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return btjax.train(config.replace("training.epochs", 1), tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run, whose report a test may change."""
    return Run(shutil.copytree(trained.folder, tmp_path / "run"))


def changed(run, **fields):
    """The run with other values in its report."""
    path = run.folder / "report.json"
    write_json(path, read_json(path) | msgspec.to_builtins(fields))
    return run


def half(value, rows=10):
    return Estimate(value, (value - 0.1, value + 0.1), rows, rows)


REAL = {"form": "images", "dir": "cheng", "synthetic": False, "notes": []}
COUNTS = {"train": {"slices": 3000, "patients": 9}, "validation": {"slices": 34, "patients": 9}}


def test_the_front_matter_is_yaml_with_the_reports_accuracy(run):
    front = yaml.safe_load(card(run).split("---\n")[1])
    assert front["license"] == "apache-2.0" and front["library_name"] == "btjax"
    (result,) = front["model-index"][0]["results"]
    assert result["task"]["type"] == front["pipeline_tag"] == "image-classification"
    metrics = {one["type"]: one["value"] for one in result["metrics"]}
    assert metrics["accuracy"] == round(run.report.test.accuracy, 4)


def test_hugging_faces_library_reads_the_card(run):
    hub = pytest.importorskip("huggingface_hub", reason="needs huggingface_hub")
    model_card(run)
    found = hub.ModelCard.load(run.folder / CARD)
    assert found.data.library_name == "btjax" and found.data.eval_results[0].metric_type == "accuracy"
    assert found.text.strip().startswith("# Custom CNN")


def test_every_class_score_stands_there_with_its_interval(run):
    text, test = card(run), run.report.test
    for name, scores in test.per_class.items():
        for metric in ("precision", "recall", "specificity", "f1", "roc_auc"):
            value, bounds = getattr(scores, metric), getattr(scores, f"{metric}_ci95")
            (row,) = re.findall(rf"^\| {name} \| {scores.support} \|.*$", text, re.MULTILINE)
            assert percent_with_interval(value, bounds) in row
    for scores in (test, test.by_patient, run.report.validation, *run.report.baselines.values()):
        assert percent_with_interval(scores.accuracy, scores.accuracy_ci95) in text
    assert f"- **Parameters:** {sum(leaf.size for leaf in jax.tree.leaves(run.variables['params'])):,}" in text


def test_slices_that_a_program_drew_are_said_to_be_such(run):
    text = card(run)
    assert "drawn by a program: the number says nothing about patients" in text
    assert "## The source" not in text and "The paper's claim" not in text


def test_the_source_that_holds_one_class_is_named_with_the_recalls(run):
    classes = run.classes
    parts = [
        GroupRow("source", value, 20, half(0.8), {name: half(share) for name in classes})
        for value, share in (("MR", 0.9), ("numeric", 0.4))
    ]
    alone = {name: 70 * (name == "glioma") for name in classes}
    sources = [
        SourceRow("MR", alone, alone),
        SourceRow("numeric", dict.fromkeys(classes, 5), dict.fromkeys(classes, 2)),
    ]
    text = card(changed(run, data=REAL, parts=parts, sources=sources))
    assert "Every one of the 70 slices of the source MR is of the class glioma" in text
    assert "recognises 90.0% (80.0 to 100.0) of those of the source MR and 40.0% (30.0 to 50.0)" in text
    assert "| numeric | 20 | 80.0% (70.0 to 90.0) | 40.0% (30.0 to 50.0) of 10 |" in text
    assert "| MR | 0 (0) | 70 (70) | 0 (0) |" in text


def test_a_card_says_what_was_chosen_on_which_rows(run):
    assert "Validation rows chose the checkpoint, test rows nothing." in card(run)
    checkpoint = read_json(run.folder / "report.json")["checkpoint"] | {"criterion": "last_epoch"}
    assert "Neither validation nor test rows chose anything." in card(changed(run, checkpoint=checkpoint))
    text = card(changed(run, validation=None))
    assert "There are no validation rows; test rows chose nothing." in text
    assert "No validation rows: neither a temperature nor conformal sets" in text
    assert "calibrated for slices like the validation rows" not in text


def test_patients_on_both_sides_stand_in_the_first_paragraph(run):
    split = read_json(run.folder / "report.json")["split"] | {"leaked_patients": 7}
    paragraph = card(changed(run, split=split, data=REAL)).split("\n\n")[2]
    assert "does not tell how it does on new patients" in paragraph
    paragraph = card(changed(run, split=split | {"leaked_patients": 0})).split("\n\n")[2]
    assert "new patients" not in paragraph


def test_a_set_of_chengs_size_and_classes_is_passed_on_under_its_licence_and_another_is_not(run):
    report = changed(run, data=REAL, counts=COUNTS | {"test": {"slices": 30, "patients": 9}}).report
    assert is_chengs(report) and licence_of(report)[0] == "cc-by-4.0"
    assert "figshare 1512427" in card(run)
    report = changed(run, counts=COUNTS | {"test": {"slices": 31, "patients": 9}}).report
    assert not is_chengs(report) and licence_of(report)[0] == "unknown"
    assert "1512427" not in card(run) and "must say who collected the slices" in card(run)


def test_a_card_as_it_was_written_and_one_with_added_prose_pass(run):
    path = model_card(run)
    check_card(run, run.folder)
    text = path.read_text()
    path.write_text(text.replace("## Limits\n", "## Contact\n\nAsk the authors.\n\n## Limits\n") + "\nThanks.\n")
    check_card(run, run.folder)


def other_number(text):
    return re.sub(r"(\| Accuracy \| )\d+\.\d", r"\g<1>99.8", text, count=1)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (other_number, r"found .*99\.8%.*, the report says .*Accuracy"),
        (lambda text: text.replace("value: 0.", "value: 1.", 1), r"MODEL_CARD\.md:\d+: found .*value: 1\."),
        (lambda text: text.replace("## Limits", "Accuracy of 99% elsewhere.\n\n## Limits"), "found 'Accuracy of 99%"),
        (lambda text: text.replace("Not a medical device", "A medical device"), "found .*A medical device"),
        (lambda text: text.replace("- Any clinical use.\n", ""), "the report says '- Any clinical use.'"),
        (lambda text: text.replace("license: apache-2.0\n", "license: apache-2.0\nlicense: mit\n"), "'license: mit'"),
        (lambda text: text.partition("## Citation")[0], "found 'the end', the report says '## Citation'"),
        (lambda text: text + "\nBest of 12 runs.\n", "found 'Best of 12 runs.', the report says 'nothing more'"),
    ],
)
def test_the_first_line_that_is_not_the_reports_is_named_in_one_line(run, edit, message):
    path = model_card(run)
    text = path.read_text()
    assert edit(text) != text
    path.write_text(edit(text))
    with pytest.raises(InputError, match=message) as caught:
        check_card(run, run.folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_card_of_another_report_is_refused(run):
    model_card(run)
    test = dataclasses.replace(run.report.test, accuracy=0.123)
    with pytest.raises(InputError, match=r"the report says .*12\.3%|the report says .*0\.123"):
        check_card(changed(run, test=test), run.folder)


def test_names_of_a_data_set_do_not_become_markup():
    hostile = "<img src=x onerror=alert(1)>|`*[x](y)\n# heading"
    shown = plain(hostile)
    assert not set("<>|`*[]\n") & set(shown)
    assert table(["", "n"], [[shown, "1"]]).splitlines()[-1].count("|") == 3


def test_the_report_has_the_test_rows_by_plane_and_source(trained, tmp_path):
    report = read_report(trained.folder / "report.json")
    for group in {row.group for row in report.parts}:
        rows = [row for row in report.parts if row.group == group]
        assert sum(row.rows for row in rows) == report.test.slices
        hits = sum(row.accuracy.value * row.rows for row in rows)
        np.testing.assert_allclose(hits / report.test.slices, report.test.accuracy)


def test_an_earlier_report_without_parts_has_a_card_that_says_so(run):
    path = run.folder / "report.json"
    values = {name: value for name, value in read_json(path).items() if name not in ("parts", "sources")}
    write_json(path, values | {"data": REAL})
    assert "`--eval_only`" in card(run) and "cannot be excluded" in card(run)


def test_the_command_writes_checks_and_refuses(run, tmp_path):
    done = run_command(os.environ, "card", f"--checkpoint={run.folder}")
    assert done.returncode == 0 and done.stdout.strip().endswith(CARD), done.stderr
    path = run.folder / CARD
    path.write_text(other_number(path.read_text()))
    done = run_command(os.environ, "card", f"--checkpoint={run.folder}", "--check")
    assert done.returncode == 2 and "99.8%" in done.stderr.strip().splitlines()[-1]
    assert percent(run.report.test.accuracy) in done.stderr
    with pytest.raises(InputError, match=r"report\.json: not found"):
        model_card(tmp_path)
    with pytest.raises(InputError, match=r"MODEL_CARD\.md: not found, expected a model card"):
        model_card(run, tmp_path, check=True)
    with pytest.raises(InputError, match=r"--workdir=.*: not found"):
        model_card(run, tmp_path / "nowhere")
