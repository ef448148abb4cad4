"""Runs that differ in their options, beside each other."""

import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.base.files import write_json
from btjax.evaluation.comparison import difference_interval
from btjax.evaluation.intervals import Clusters
from btjax.runs.predictions import Predictions
from btjax.runs.run import PREDICTIONS
from experiments import summaries
from experiments.gains import gains_of
from experiments.tables.headlines import result_lines
from experiments.tables.options import options_of, options_table
from experiments.tables.page import tables
from tests.experiments.fake_results import fake_comparison, fake_run, fake_saliency


def guided(guidance, fold=0, accuracy=0.9, slices=10, maps=(), seed=0):
    """A run of the joint network at a weight of guidance."""
    run = fake_run("family", accuracy=accuracy, fold=fold, slices=slices)
    run["counts"] |= {"train": {"slices": 30, "patients": 8}, "validation": {"slices": 5, "patients": 2}}
    run["config"] = {
        "seed": seed, "system": "joint", "data": {"fold": fold, "image_size": 64},
        "training": {"epochs": 8, "guidance": guidance}, "extra": {"segmentation": 1.0},
    }  # fmt: skip
    outlines = {name: {"value": 0.5 + fold / 10, "ci95": [0.4, 0.7]} for name in ("dice", "pointing")}
    outlines["interval"] = {"unit": "family"}
    run["checkpoint"] = {"epoch": 3, "step": 12}
    run["split"]["fingerprint"] = "abc"
    return run | {"title": "Joint network", "task": "classification", "outlines": outlines, "maps": list(maps)}


def taught(by, dice):
    """A segmenter's run."""
    score = {"value": dice, "ci95": [dice - 0.1, dice + 0.1]}
    run = guided(0.0)
    run["config"]["extra"] = {"taught_by": by}
    side = {"slices": 10, "dice": score, "pointing": score, "interval": {"unit": "family"}}
    return run | {"task": "segmentation", "test": side, "validation": side, "title": "Segmenter"}


def cells(text):
    lines = [line[2:-2].split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def test_a_row_is_named_by_the_options_that_differ_and_the_folds_of_an_option_are_put_together_by_slices():
    pointing = fake_comparison("grad_cam", 0.6, score="pointing", mean_ci95=(0.5, 0.7))
    runs = [guided(0.0), guided(1.0, maps=[pointing]), guided(0.0, fold=1, accuracy=0.6, slices=20)]
    rows = cells(options_table({"by_options": runs}))
    assert [(row["options"], row["rows held out"]) for row in rows] == [
        ("`--guidance=0.0`", "family, fold 0, seed 0"),
        ("`--guidance=0.0`", "family, fold 1, seed 0"),
        ("`--guidance=0.0`", "2 folds together"),
        ("`--guidance=1.0`", "family, fold 0, seed 0"),
    ]
    assert rows[2]["test accuracy (95%)"] == "**70.0%** (none)" and rows[2]["Dice (95%)"] == "0.567 (none)"
    told = "0.600 (0.500 to 0.700), +0.400 (+0.010 to +0.200)"
    assert rows[3]["pointing of grad_cam (95%), less the best control"] == told
    assert rows[0]["pointing of grad_cam (95%), less the best control"] == ""
    assert rows[2]["validation accuracy"] == "50.0%"


def test_seeds_of_a_fold_are_not_put_together_as_folds():
    rows = cells(options_table({"by_options": [guided(0.0), guided(0.0, seed=1), guided(1.0)]}))
    assert [row["rows held out"] for row in rows] == [
        "family, fold 0, seed 0",
        "family, fold 0, seed 1",
        "family, fold 0, seed 0",
    ]


def test_what_the_rows_share_stands_above_them_and_what_differs_does_not():
    other = guided(1.0)
    other["config"] = other["config"] | {"system": "joint_resnet50"}
    lead = options_table({"by_options": [guided(0.0), other]}).splitlines()[0]
    assert "intervals by family; `--image_size=64` `--epochs=8`, and what" in lead and "--system" not in lead
    assert "`--system=joint` `--image_size=64`" in options_table({"by_options": [guided(0.0), guided(1.0)]})


def test_segmenters_are_told_apart_by_what_taught_them_and_have_no_accuracy():
    text = options_table({"by_options": [taught("", 0.6), taught("gradient", 0.3), taught("centre_boxes", 0.2)]})
    rows = cells(text)
    assert [row["options"] for row in rows] == [
        "no `--taught_by`",
        "`--taught_by=gradient`",
        "`--taught_by=centre_boxes`",
    ]
    assert rows[1]["Dice (95%)"] == "0.300 (0.200 to 0.400)" and "test accuracy (95%)" not in rows[0]
    assert rows[1]["validation Dice"] == "0.300" and "validation accuracy" not in rows[0]


def test_which_rows_are_held_out_is_no_option():
    config = guided(1.0)["config"]
    assert options_of(config) == options_of(guided(1.0, fold=3)["config"]) != options_of(guided(0.5)["config"])


def test_runs_of_the_same_options_or_of_several_protocols_are_refused(tmp_path, monkeypatch):
    runs = {"a": guided(0.0), "b": guided(0.0), "c": guided(1.0) | {"protocol": "slice"}, "d": guided(1.0)}
    monkeypatch.setattr(
        summaries, "summary", lambda folder: {k: v for k, v in runs[folder.name].items() if k != "maps"}
    )
    with pytest.raises(InputError, match="b: of the same options, fold and seed as another run"):
        summaries.by_options([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(InputError, match="several protocols"):
        summaries.by_options([tmp_path / "a", tmp_path / "c"])
    for name in "ad":
        predicted(tmp_path / name, [True] * 6)
    found = summaries.by_options([tmp_path / "a", tmp_path / "d"])
    assert [gain["runs"] for gain in found["gains"]] == [[1]]
    assert [run["maps"] for run in found["by_options"]] == [[], []]
    assert "## Options compared, `joint`" in tables({"options_joint": found})


def test_what_a_runs_maps_score_is_taken_from_the_folder_saliency_in_it(tmp_path, monkeypatch):
    report = fake_saliency([fake_comparison("gradient", 0.3, score="pointing"), fake_comparison("gradient", 0.4)], [])
    report |= {"split": "abc", "epoch": 3, "step": 12}
    monkeypatch.setattr(summaries, "summary", lambda folder: guided(float(folder.name)))
    monkeypatch.setattr(summaries, "saliency_summary", lambda folder: report)
    for name in "01":
        predicted(tmp_path / name, [True] * 6)
    (tmp_path / "1" / "saliency").mkdir()
    write_json(tmp_path / "1" / "saliency" / "saliency.json", {})
    first, second = summaries.by_options([tmp_path / "0", tmp_path / "1"])["by_options"]
    assert first["maps"] == [] and [row["mean"] for row in second["maps"]] == [0.3]
    report["epoch"] = 4
    with pytest.raises(InputError, match=r"saliency\.json: of another run than the one in"):
        summaries.by_options([tmp_path / "0", tmp_path / "1"])


def test_the_readme_tells_what_a_joint_network_learned_from_by_fold_and_seed():
    runs = [guided(0.0), guided(1.0), guided(1.0, seed=1)]
    runs[0]["config"]["extra"], runs[2]["config"]["training"]["guidance_map"] = None, "gradient"
    (line,) = [line for line in result_lines({"options_joint": {"by_options": runs}}).splitlines() if "Joint" in line]
    score = "90.0% (80.0 to 100.0), 0.500 (0.400 to 0.700)"
    assert "Joint network, 64 px, `family`: test accuracy, and share of slices whose most certain pixel" in line
    assert f"Fold 0, seed 0: no masks {score}; outlines and grad_cam guided by masks {score}. " in line
    assert line.endswith(f"Fold 0, seed 1: outlines and gradient guided by masks {score}")


def test_the_outlines_that_taught_a_segmenter_are_named_without_their_folder():
    config = {"extra": {"taught_by": "/home/somebody/labels/gradient.npz"}}
    assert summaries.without_paths(config) == {"extra": {"taught_by": "gradient"}}


IDS = ("a", "b", "c", "d", "e", "f")
SIDES = ("train", "validation", "validation", "test", "test", "test")
PATIENTS = ("p0", "p1", "p2", "p3A", "p3B", "p4")


def predicted(folder, right, ids=IDS, sides=SIDES, patients=PATIENTS, labels=None):
    """A finished run's predictions, right in some of six rows."""
    labels = np.zeros(len(right), np.int32) if labels is None else np.array(labels, np.int32)
    told = np.where(right, labels, 1 - labels)
    logits = np.eye(2, dtype=np.float32)[told]
    patients = None if patients is None else np.array(patients)
    folder.mkdir()
    Predictions(np.array(ids), labels, np.array(sides), logits, ("x", "y"), patients).save(folder / PREDICTIONS)
    return folder


def test_gains_are_paired_by_fold_and_seed_and_put_together_over_folds(tmp_path):
    second, others = tuple("ghijkl"), ("q0", "q1", "q2", "q3", "q4", "q5")
    runs = {
        "base0": (guided(0.0), predicted(tmp_path / "base0", [1, 1, 0, 0, 1, 0])),
        "base1": (guided(0.0, fold=1), predicted(tmp_path / "base1", [1, 0, 0, 1, 1, 0], second, patients=others)),
        "other1": (guided(1.0, fold=1), predicted(tmp_path / "other1", [0, 1, 0, 1, 0, 1], second, patients=others)),
        "other0": (guided(1.0), predicted(tmp_path / "other0", [0, 0, 1, 1, 1, 1])),
        "base, seed 1": (guided(0.0, seed=1), predicted(tmp_path / "base, seed 1", [0, 0, 0, 1, 1, 1])),
        "other, seed 1": (guided(1.0, seed=1), predicted(tmp_path / "other, seed 1", [0, 1, 1, 0, 0, 1])),
    }
    told, folders = zip(*runs.values(), strict=True)
    found = gains_of(folders, told)
    assert [one["runs"] for one in found] == [[2, 3], [5]]
    both, seed = found
    # Validation rows: in fold 1 one gained, in fold 0 one gained and one lost.
    assert (both["validation"]["value"], both["validation"]["rows"], both["validation"]["clusters"]) == (0.25, 4, 4)
    assert (both["test"]["value"], both["test"]["rows"], both["test"]["clusters"]) == (pytest.approx(2 / 6), 6, 5)
    gains = np.array([0, -1, 1, 1, 0, 1], float)
    expected = difference_interval(gains, Clusters.of(np.array(["q3", "q4", "q5", "p3", "p3", "p4"])))
    assert both["test"]["ci95"] == pytest.approx(expected.ci95)
    assert seed["validation"]["value"] == 1 and seed["test"]["value"] == pytest.approx(-2 / 3)

    rows = cells(options_table({"by_options": list(told), "gains": found}))
    assert [row["gain on validation rows, points (95%)"][:6] for row in rows] == [
        "",
        "",
        "",
        "",
        "",
        "+25.0 ",
        "",
        "+100.0",
    ]
    assert rows[5]["gain on test rows, points (95%)"].startswith("+33.3 (")
    assert [row["rows held out"] for row in rows][5:] == [
        "2 folds together",
        "family, fold 0, seed 1",
        "family, fold 0, seed 1",
    ]


def test_runs_that_predict_the_same_are_not_known_to_be_equal(tmp_path):
    folders = [predicted(tmp_path / name, [True] * 6) for name in "ab"]
    (gain,) = gains_of(folders, [guided(0.0), guided(1.0)])
    low, high = gain["test"]["ci95"]
    assert gain["test"]["value"] == 0 and low < -0.5 < 0.5 < high


def test_without_patients_a_slice_in_two_folds_is_one_cluster(tmp_path):
    folders = [predicted(tmp_path / name, [True] * 6, patients=None) for name in "abcd"]
    (gain,) = gains_of(folders, [guided(0.0), guided(0.0, fold=1), guided(1.0), guided(1.0, fold=1)])
    assert (gain["test"]["rows"], gain["test"]["clusters"]) == (6, 3)


def test_gains_on_other_rows_than_the_first_options_are_refused(tmp_path):
    right = [True] * 6
    first = predicted(tmp_path / "a", right)
    with pytest.raises(
        InputError, match=r"b: fold 2 of 2, split seed 0, seed 0; no run of the options of .*a has these"
    ):
        gains_of([first, predicted(tmp_path / "b", right)], [guided(0.0), guided(1.0, fold=2)])
    for name, other in {
        "ids": {"ids": (*IDS[:5], "x")}, "labels": {"labels": [0] * 5 + [1]},
        "patients": {"patients": (*PATIENTS[:5], "x")}, "no patients": {"patients": None},
    }.items():  # fmt: skip
        with pytest.raises(
            InputError, match=f"{name}: its (validation|test) rows are not those of .*a, expected the same"
        ):
            gains_of([first, predicted(tmp_path / name, right, **other)], [guided(0.0), guided(1.0)])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="nothing"):
        gains_of([first, tmp_path / "nothing"], [guided(0.0), guided(1.0)])


def test_a_run_without_validation_rows_has_no_gain_on_them(tmp_path):
    refit = predicted(tmp_path / "b", [True] * 6, sides=("train",) * 3 + ("test",) * 3)
    runs = [guided(0.0), guided(1.0)]
    (gain,) = gains_of([predicted(tmp_path / "a", [False] * 6), refit], runs)
    assert gain["validation"] is None and gain["test"]["value"] == 1
    assert "gain on validation rows, points (95%)" not in cells(options_table({"by_options": runs, "gains": [gain]}))[0]


def test_segmenters_have_no_gains_in_accuracy(tmp_path):
    assert gains_of([tmp_path, tmp_path], [taught("", 0.6), taught("gradient", 0.3)]) == []


def test_a_row_names_what_differs_from_the_first_row_alone():
    runs = [guided(0.0), guided(1.0), guided(0.0), guided(0.0)]
    runs[2]["config"]["extra"], runs[3]["config"]["extra"] = {"segmentation": 0.5}, None
    labels = [row["options"] for row in cells(options_table({"by_options": runs}))]
    assert labels == [
        "`--guidance=0.0` `--segmentation=1.0`", "`--guidance=1.0`", "`--segmentation=0.5`", "no `--segmentation`"
    ]  # fmt: skip
