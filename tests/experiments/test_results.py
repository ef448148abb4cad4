import json
import pathlib
import re

import pytest

from btjax.base.errors import InputError
from experiments import results
from experiments.tables.bench import speed_table
from experiments.tables.classifiers import classifier_table
from experiments.tables.headlines import result_lines
from experiments.tables.page import tables
from experiments.tables.saliency import saliency_table
from experiments.tables.unet import variants_table


def fake_run(protocol="slice", seed=0, accuracy=0.9, slices=10, fold=0) -> dict:
    scores = {"slices": slices, "accuracy": accuracy, "accuracy_ci95": [0.8, 1.0], "macro_f1": 0.88, "roc_auc": 0.99}
    scores |= {"by_patient": None}
    return {
        "protocol": protocol,
        "split": {"fold": fold, "folds": 2, "seed": seed},
        "config": {"seed": seed, "system": "cnn"},
        "counts": {"test": {"slices": 10, "patients": 4}},
        "test": scores,
        "validation": scores | {"accuracy": 0.5},
        "held_out": scores,
        "baselines": {"linear_model": {"accuracy": 0.7}, "class_prior": {"accuracy": 0.4}},
        "training": {"seconds": 120},
    }


def test_the_table_has_a_row_for_each_run_and_the_mean_of_a_protocols_seeds():
    table = classifier_table([fake_run(seed=0, accuracy=0.9), fake_run(seed=1, accuracy=0.94), fake_run("patient")])
    assert table.count("| slice |") == 2 and table.count("| patient, fold 0 |") == 1
    assert "| **94.0%** (80.0 to 100.0) |" in table
    assert "Mean of the 2 `slice` runs: **92.0%** test, 50.0% validation" in table


def test_folds_are_pooled_by_their_slices():
    table = classifier_table([fake_run("family", accuracy=0.9), fake_run("family", accuracy=0.6, slices=20, fold=1)])
    assert table.count("\n") == 2
    assert "| family, 2 folds | 0 | 30 (8) | **70.0%** (folds 60.0 to 90.0, no interval) |" in table


def test_part_of_a_protocols_folds_is_not_pooled_and_neither_are_seeds():
    table = classifier_table([fake_run("family", fold=0), fake_run("family", seed=1, fold=0)])
    assert table.count("| family, fold 0 |") == 2 and "no interval" not in table


def test_runs_of_another_system_do_not_go_into_a_results_file(monkeypatch):
    other = fake_run() | {"config": {"seed": 3, "system": "vgg16"}}
    monkeypatch.setattr(results, "summary", lambda folder: other)
    with pytest.raises(InputError, match="a run of vgg16, the results file holds cnn"):
        results.collect([pathlib.Path("anywhere")], {"runs": [fake_run()]})
    with pytest.raises(InputError, match="holds something else"):
        results.collect([pathlib.Path("anywhere")], {"by_epoch": {}})


def fake_comparison(method, mean, slices=20, interval=(0.01, 0.2), **place) -> dict:
    return {
        "method": method, "mean": mean, "slices": slices, "patients": 9, "best_control": "centre", "control_mean": 0.2,
        "difference": mean - 0.2, "difference_ci95": interval, "beats_best_control": True,
        "score": "average_precision", "group": "all", "value": "all",
    } | place  # fmt: skip


def test_the_saliency_table_names_the_best_method_of_each_class_beside_noise_and_the_papers_gradient():
    glioma = {"group": "class", "value": "glioma"}
    noise = {"method": "noise", "mean": 0.02, "score": "average_precision", "group": "all", "value": "all"}
    result = {
        "test_slices": 20,
        "accuracy": 0.95,
        "classes": ["glioma"],
        "saliency": {"baseline": "black"},
        "localisation": {
            "controls": [noise, noise | glioma | {"mean": 0.03}],
            "comparison": [
                fake_comparison("gradient", 0.15),
                fake_comparison("occlusion", 0.34, slices=6),
                fake_comparison("occlusion", 0.99, score="pointing"),
                fake_comparison("gradient", 0.3, interval=None, **glioma),
            ],
        },
    }
    lines = saliency_table({"cnn, slice": result}).splitlines()[-2:]
    assert lines[0] == (
        "| cnn, slice: 20 slices, accuracy 95.0% | black | all | 0.020 | 0.150 | occlusion | 6 (9 patients) | 0.340 "
        "| centre 0.200 | +0.140 (+0.010 to +0.200) |"
    )
    assert lines[1] == "|  |  | glioma | 0.030 | 0.300 | gradient | 20 (9 patients) | 0.300 | centre 0.200 | +0.100 |"


def test_the_variants_table_has_a_row_for_each_unet():
    shares = {f"{part} of another class": {"share": share} for part, share in (("latent", 0.25), ("location", 0.9))}
    one = {
        "protocol": "slice",
        "test_slices": 20,
        "reconstruction": {"mae": 0.012, "psnr": 32.0, "ssim": 0.9},
        "latent": shares,
        "final_latent": shares,
        "config": {
            "data": {"image_size": 64},
            "training": {"epochs": 10},
            "model": {"dropout": 0.5, "skip_dropout": 0.0},
        },
    }
    table = variants_table({"base": one, "other": one})
    assert table.count("| 0.5 | 0.0 | 0.0120 | 32.0 | 0.900 | 25.0% | 90.0% | 25.0% | 90.0% |") == 2


def test_a_saliency_folder_without_scores_or_beside_another_is_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saliency.json").write_text("{}")
    with pytest.raises(InputError, match="report of schema 1, expected 2"):
        results.collect([tmp_path / "a"])
    with pytest.raises(InputError, match="expected one folder for this results file"):
        results.collect([tmp_path / "a", tmp_path / "b"])


def test_results_are_kept_in_four_digits():
    assert results.rounded({"a": [0.123456, 3, None, "x"], "b": True}) == {"a": [0.1235, 3, None, "x"], "b": True}


def test_a_config_is_kept_without_the_places_of_files():
    config = {"seed": 1, "data": {"data_dir": "/home", "fold": 0}, "extra": {"weights": "/home", "head": "dense"}}
    assert results.without_paths(config) == {"seed": 1, "data": {"fold": 0}, "extra": {"head": "dense"}}


def between_the_marks(path) -> str:
    return path.read_text(encoding="utf-8").split(results.BEGIN)[1].split(results.END)[0].strip()


def test_both_pages_say_what_the_results_files_say():
    found = results.all_results()
    assert between_the_marks(results.RESULTS / "README.md") == tables(found).strip()
    assert between_the_marks(results.ROOT / "README.md") == result_lines(found).strip()


def test_no_accuracy_stands_in_the_readme_outside_the_marks():
    text = (results.ROOT / "README.md").read_text(encoding="utf-8")
    outside = text.split(results.BEGIN)[0] + text.split(results.END)[1]
    assert not re.findall(r"\b0?\.9\d|\b\d\d\.\d%|accuracy of \d", outside)


def test_the_readme_has_a_line_for_each_headline_result():
    lines = result_lines(results.all_results()).splitlines()
    named = ("`slice`", "`linked`", "`family`", "`slice`", "`family`", "a four-class set", "U-Net", "Maps of the CNN")
    shown = [line for line in lines if line.startswith("- ")]
    assert len(shown) == len(named)
    assert all(name in line for name, line in zip(named, shown, strict=True))


def test_runs_of_a_protocol_fold_and_seed_take_the_place_of_earlier_ones(monkeypatch):
    monkeypatch.setattr(results, "summary", lambda folder: fake_run("slice", seed=1, accuracy=0.5))
    before = {"runs": [fake_run("slice", seed=0), fake_run("slice", seed=1), fake_run("family")]}
    after = results.collect([pathlib.Path("anywhere")], before)["runs"]
    assert [(run["protocol"], run["config"]["seed"], run["test"]["accuracy"]) for run in after] == [
        ("slice", 0, 0.9),
        ("slice", 1, 0.5),
        ("family", 0, 0.9),
    ]


def test_a_folder_without_a_report_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["results", "--name=x", str(tmp_path)])
    with pytest.raises(InputError, match=f"{tmp_path}/report.json: not found"):
        results.main()


def test_results_files_name_no_folder_of_the_machine_that_wrote_them():
    for path in results.RESULTS.glob("*.json"):
        assert "data_dir" not in json.dumps(json.loads(path.read_text()))


@pytest.mark.parametrize("path", sorted(results.RESULTS.glob("cnn_*.json")), ids=lambda path: path.stem)
def test_quoted_accuracies_follow_from_their_confusion_matrices(path):
    for run in json.loads(path.read_text())["runs"]:
        matrix = run["test"]["confusion_matrix"]
        correct = sum(row[index] for index, row in enumerate(matrix))
        assert run["test"]["accuracy"] == pytest.approx(correct / run["counts"]["test"]["slices"])


def speeds(milliseconds, ratio):
    return {"ms_per_image": [0.1, milliseconds, 9.0], "time_over_btjax": ratio, "share_of_matmul_peak": 0.5}


def test_the_speed_table_has_a_row_for_each_case_with_the_fastest_form_of_each_framework():
    forms = {
        "btjax": speeds(2.0, 1.0),
        "torch_eager": speeds(4.0, 2.0),
        "torch_channels_last": speeds(3.0, 1.5),
        "keras_jax": speeds(5.0, 2.5),
        "btjax_bfloat16": speeds(0.5, 1.0),
        "torch_compile_bfloat16": speeds(0.6, 1.2),
    }
    cases = {"small": {"forms": forms, "versions": {"jax": "0.12.0"}}, "vgg16": {"forms": {}}}
    table = speed_table({"device": "a-gpu", "cases": cases})
    assert table.startswith("On a-gpu")
    assert "| small | 0.12.0 | 2.0 | 50% | channels_last | 1.50 | jax | 2.50 |" in table
    assert "| small, bfloat16 | 0.12.0 | 0.500 | 50% | compile | 1.20 | | |" in table
    assert "vgg16" not in table
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and len({line.count("|") for line in rows}) == 1


def test_what_is_measured_of_btjax_alone_stands_below_the_speed_table():
    layers = {
        f"conv_{index}": {
            piece: {"share_of_matmul_peak": share} for piece in ("forward", "image_gradient", "kernel_gradient")
        }
        for index, share in enumerate((0.5, 0.75))
    }
    cases = {
        "layers": {"layers": layers},
        "epoch": {"steps": 20, "overhead": 0.012},
        "folds": {"folds": 5, "ratio": 1.5, "epoch_ratio": 1.25},
    }
    table = speed_table({"cases": cases})
    assert "forward 50 to 75%, image gradient 50 to 75%, kernel gradient 50 to 75%." in table
    assert "20 steps by the training loop takes +1.2% over" in table
    assert "5 folds one after the other take 1.50 times as long as in one program, 1.25 times" in table
