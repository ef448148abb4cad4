"""Runs that differ in their options, beside each other."""

import pytest

from btjax.base.errors import InputError
from btjax.base.files import write_json
from experiments import summaries
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
    return run | {"title": "Joint network", "outlines": outlines, "maps": list(maps)}


def taught(by, dice):
    """A segmenter's run."""
    score = {"value": dice, "ci95": [dice - 0.1, dice + 0.1]}
    run = guided(0.0)
    run["config"]["extra"] = {"taught_by": by}
    side = {"slices": 10, "dice": score, "pointing": score, "interval": {"unit": "family"}}
    return run | {"test": side, "validation": side, "title": "Segmenter"}


def cells(text):
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
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
    found = summaries.by_options([tmp_path / "a", tmp_path / "d"])
    assert [run["maps"] for run in found["by_options"]] == [[], []]
    assert "## Options compared, `joint`" in tables({"options_joint": found})


def test_what_a_runs_maps_score_is_taken_from_the_folder_saliency_in_it(tmp_path, monkeypatch):
    report = fake_saliency([fake_comparison("gradient", 0.3, score="pointing"), fake_comparison("gradient", 0.4)], [])
    report |= {"split": "abc", "epoch": 3, "step": 12}
    monkeypatch.setattr(summaries, "summary", lambda folder: guided(float(folder.name)))
    monkeypatch.setattr(summaries, "saliency_summary", lambda folder: report)
    (tmp_path / "1" / "saliency").mkdir(parents=True)
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
