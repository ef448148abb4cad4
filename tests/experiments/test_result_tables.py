"""The tables of the results files, on files in small."""

import numpy as np
import pytest

from btjax.base.files import write_json
from btjax.reports.numbers import UNDEFINED
from experiments import summaries
from experiments.tables.attack import attack_tables
from experiments.tables.bench import speed_section, speed_table
from experiments.tables.classifiers import classifier_table, macro_f1
from experiments.tables.headlines import result_lines
from experiments.tables.page import tables
from experiments.tables.saliency import saliency_table, settings_table
from experiments.tables.saliency_checks import checks_table
from experiments.tables.saliency_findings import saliency_findings
from experiments.tables.search import search_table
from experiments.tables.segmenter import joint_table
from experiments.tables.stages import stages_table
from experiments.tables.unet import variants_table
from tests.experiments.fake_results import fake_attack, fake_comparison, fake_run, fake_saliency


def test_the_table_has_a_row_for_each_run_and_the_mean_of_a_protocols_seeds():
    table = classifier_table([fake_run(seed=0, accuracy=0.9), fake_run(seed=1, accuracy=0.94), fake_run("patient")])
    assert table.count("| slice |") == 2 and table.count("| patient, fold 0 |") == 1
    assert "| **94.0%** (80.0 to 100.0) |" in table
    assert "of the 2 `slice` runs: **92.0%** (none: their test rows overlap)" in table
    assert "all folds" not in table


def test_a_number_without_an_interval_says_so_and_a_range_of_folds_stands_in_a_column_of_its_own():
    table = classifier_table([fake_run("family", accuracy=0.9), fake_run("family", accuracy=0.6, slices=20, fold=1)])
    head, _, row = [line.strip("| ").split(" | ") for line in table.splitlines()[:3]]
    cells = dict(zip(head, row, strict=True))
    assert cells["test accuracy (95%)"] == "**70.0%** (none)"
    assert cells["lowest and highest fold"] == "60.0 to 90.0"
    assert cells["test slices (patients)"] == "30 (8)"
    f1 = 100 * macro_f1(2 * np.array([[3, 1], [0, 4]]))
    assert cells["macro F1 (95%)"] == f"{f1:.1f}% (none)"
    assert "the range of the folds is no interval" in table
    for name, cell in cells.items():
        assert "(95%)" not in name or cell.endswith(("(none)", "not kept")) or not cell, name


def test_macro_f1_of_a_matrix_is_scikit_learns():
    from sklearn.metrics import f1_score

    matrix = np.array([[5, 2, 0], [1, 7, 1], [0, 3, 9]])
    true, predicted = (np.repeat(axis.ravel(), matrix.ravel()) for axis in np.indices(matrix.shape))
    assert macro_f1(matrix) == pytest.approx(f1_score(true, predicted, average="macro"), abs=1e-12)


def test_part_of_a_protocols_folds_is_not_pooled_and_neither_are_seeds():
    table = classifier_table([fake_run("family", fold=0), fake_run("family", seed=1, fold=0)])
    assert table.count("| family, fold 0 |") == 2 and "no interval" not in table


GLIOMA = {"group": "class", "value": "glioma"}
NOISE = {"method": "noise", "mean": 0.02, "score": "average_precision", "group": "all", "value": "all", "slices": 20}


def saliency_result():
    return fake_saliency(
        [
            fake_comparison("gradient", 0.15),
            fake_comparison("grad_cam", 0.34, mean_ci95=(0.3, 0.4)),
            fake_comparison("occlusion", 0.5, slices=6),
            fake_comparison("gradient", 0.99, score="pointing", beats_best_control=False),
            fake_comparison("occlusion", 0.9, slices=6, score="pointing"),
            fake_comparison("gradient", 0.3, interval=None, **GLIOMA),
            fake_comparison("grad_cam", 0.1, interval=None, **GLIOMA),
            fake_comparison("occlusion", 0.1, slices=2, interval=None, **GLIOMA),
        ],
        [NOISE, NOISE | GLIOMA | {"mean": 0.03}],
    )


def test_methods_of_drawn_slices_stand_apart_from_those_of_every_slice_with_the_counts_of_each_class():
    outlined = fake_saliency([fake_comparison("outline", 0.7), fake_comparison("outline", 0.9, slices=19)], [NOISE])
    other = fake_saliency([fake_comparison("outline", 0.8)], [NOISE], split="another")
    runs = {"joint, slice": outlined, "joint, other slices": other, "cnn, slice": saliency_result()}
    lines = saliency_table(runs).splitlines()[-4:]
    # The last column is told by other networks that outline, on the same slices.
    assert lines == [
        "| cnn, slice | every: 20 (9 patients) | 20 glioma | 0.020 | 0.150 | grad_cam | 0.340 (0.300 to 0.400) "
        "| centre 0.200 | +0.140 (+0.010 to +0.200) | 0.700 |",
        "|  | drawn: 6 (9 patients) | 2 glioma |  |  | occlusion | 0.500 (none) | centre 0.200 "
        "| +0.300 (+0.010 to +0.200) |  |",
        "|  | glioma: 20 (9 patients) |  | 0.030 | 0.300 | gradient | 0.300 (none) | centre 0.200 | +0.100 (none) |  |",
        "|  | glioma: 2 (9 patients) |  |  |  | occlusion | 0.100 (none) | centre 0.200 | -0.100 (none) |  |",
    ]


def test_settings_and_missing_methods_stand_beside_each_run():
    whole = saliency_result()
    less = fake_saliency([fake_comparison("gradient", 0.1)], [NOISE])
    less["saliency"] |= {"arithmetic": "bfloat16", "score_cam_channels": 32}
    rows = settings_table({"cnn, slice": whole, "vgg16, slice": less}).splitlines()[-2:]
    assert rows[0] == "| cnn, slice | 95.0% of 20 | 3 | black | as trained | 8 | 100 | all | 6 | none |"
    assert rows[1] == "| vgg16, slice | 95.0% of 20 | 3 | black | bfloat16 | 8 | 100 | 32 | 6 | grad_cam, occlusion |"


def test_the_checks_stand_beside_chance_and_tell_what_random_networks_leave_of_the_maps():
    def measured(method, score, mean, ci95=(0.1, 0.2), patients=12):
        return {"method": method, "score": score, "mean": mean, "ci95": ci95, "patients": patients}

    def left(layer, precision, lost=None, alike=0.5):
        row = {"method": "gradient", "layer": layer, "average_precision": precision, "lost": lost}
        return row | {"spearman": alike, "ssim": alike}

    rows = [measured("noise", "insertion", 0.15), measured("occlusion", "insertion", 0.9)]
    rows += [measured("gradient", "insertion", 0.18), measured("gradient", "deletion", 0.12, patients=9)]
    stages = [left("trained", 0.3, 0.0, 1.0), left("logits", 0.3, 0.0, 1.0), left("conv_1", 0.05, 0.25)]
    stages += [left("permuted labels", 0.29, 0.01)]
    result = saliency_result() | {"faithfulness": {"slices": 6, "rows": rows}, "randomisation": {"rows": stages}}
    runs = {"cnn, slice": result | {"intervals": "jackknife"}, "older": result}
    head, _, *lines = [line for line in checks_table(runs).splitlines() if line.startswith("|")]
    assert "insertion (higher) | deletion (lower) | sensitivity n (higher) | max sensitivity (lower)" in head
    nothing = " | ".join([UNDEFINED] * 2)
    # Few patients, and bootstraps, tell no interval worth showing; an outline does not pass through the logits.
    assert lines == [
        f"| cnn, slice | 6 | noise | 0.150 (0.100 to 0.200) | {UNDEFINED} | {nothing} |  |  |  |",
        f"|  |  | gradient | 0.180 (0.100 to 0.200) | 0.120 (none) | {nothing} | 0.300 | unchanged | +0.250 |",
        f"| older | 6 | noise | 0.150 (none) | {UNDEFINED} | {nothing} |  |  |  |",
        f"|  |  | gradient | 0.180 (none) | 0.120 (none) | {nothing} | 0.300 | unchanged | +0.250 |",
    ]
    assert checks_table({"cnn, slice": saliency_result()}) == ""


def test_exceptions_are_told_score_by_score_and_run_by_run():
    none = fake_saliency([fake_comparison("gradient", 0.1, beats_best_control=False)], [NOISE])
    text = saliency_findings({"a, slice": saliency_result(), "b, slice": none})
    sure = "occlusion +0.300 (+0.010 to +0.200), grad_cam +0.140 (+0.010 to +0.200), gradient -0.050 (+0.010 to +0.200)"
    assert f"- average precision: a, slice: {sure}\n" in text
    assert "- pointing: a, slice: occlusion +0.700" in text
    assert "6 comparisons, not corrected" in text
    assert "- pointing: none in any of the 1 runs" in saliency_findings({"b, slice": none | pointing(0.1)})
    assert "from before the two were told apart: a, slice; b, slice." in text


def pointing(mean):
    rows = [
        fake_comparison("gradient", mean, score=score, beats_best_control=False)
        for score in ("average_precision", "pointing")
    ]
    return {"localisation": {"controls": [NOISE], "comparison": rows, "scores": [{"method": "gradient"}]}}


def test_correct_and_wrong_decisions_stand_beside_each_other_where_the_file_tells_them_apart():
    result = saliency_result()
    result["localisation"]["comparison"] += [
        fake_comparison("gradient", mean, slices=slices, group="correctness", value=value)
        for value, mean, slices in (("correct", 0.25, 18), ("wrong", 0.05, 2))
    ]
    text = saliency_findings({"a, slice": result})
    assert "told apart" not in text
    assert (
        "| a, slice | gradient | 18 (9 patients) | 0.250 (none) | +0.050 (+0.010 to +0.200) | 2 (9 patients) | 0.050 "
        "(none) | -0.150 (+0.010 to +0.200) |" in text
    )


def test_a_results_file_of_no_kind_is_refused_by_name():
    with pytest.raises(ValueError, match="odd: of no kind that has a table"):
        tables({"odd": {"anything": 1}})


def none(*values):
    return " | ".join(f"{value} (none)" for value in values)


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
    assert table.count(f"| 0.5 | 0.0 | {none('0.0120', '32.0', '0.900', '25.0%', '90.0%', '25.0%', '90.0%')} |") == 2


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
    table = speed_table({"device": "cpu", "cases": cases})
    assert "forward 50 to 75%, image gradient 50 to 75%, kernel gradient 50 to 75%." in table
    assert "20 steps by the training loop takes +1.2% over" in table
    assert "5 folds one after the other take 1.50 times as long as in one program, 1.25 times" in table


def test_errors_of_four_classes_are_told_apart_by_stage():
    run = fake_run() | {"classes": ["meningioma", "glioma", "no_tumor"]}
    matrix = [[5, 2, 1], [3, 4, 0], [0, 6, 9]]  # rows true
    per_class = {name: {"recall": 0.5, "recall_ci95": [0.2, 0.8]} for name in run["classes"]}
    run["test"] = run["test"] | {"confusion_matrix": matrix, "per_class": per_class}
    assert "| slice, 0 | 1 | 6 | 5 |" in stages_table([run])
    assert stages_table([fake_run() | {"classes": ["meningioma", "glioma", "pituitary"]}]) == ""


def test_a_search_is_told_by_its_best_trials_and_no_test_slice():
    trials = [
        {"number": number, "flags": [f"--dropout=0.{number}"], "state": state, "value": value, "epochs": 3}
        for number, (state, value) in enumerate([("pruned", 0.4), ("complete", 0.9), ("failed", None)])
    ]
    told = search_table(
        {
            "trials": trials, "metric": "validation_accuracy", "importance": {"dropout": 1.0},
            "config": {"data": {"image_size": 64, "protocol": "family", "fold": 0}},
            "counts": {"train": 10, "validation": 5, "test": 5},
        }
    )  # fmt: skip
    assert "3 trials (1 complete, 1 pruned, 1 failed)" in told
    rows = [line for line in told.splitlines() if line.startswith(("| 0", "| 1", "| 2"))]
    assert rows == ["| 1 | 90.0% | 3 | complete | `dropout=0.1` |", "| 0 | 40.0% | 3 | pruned | `dropout=0` |"]


def test_the_speed_on_several_processors_is_told_as_a_range_and_a_gpu_is_not_part_of_it():
    def bench(device, processor, **ratios):
        forms = {"btjax": speeds(2.0, 1.0), "keras_jax": speeds(1.0, 0.5)}
        cases = {
            name: {"forms": forms | {"torch_eager": speeds(9.0, 9.0), "torch_compile": speeds(4.0, ratio)}}
            for name, ratio in ratios.items()
        }
        return {"device": device, "machine": {"processor": processor}, "cases": cases}

    results = {
        "bench_a": bench("cpu", "A, model not recorded", small=1.56, unet=0.72),
        "bench_b": bench("cpu", "B 7", small=1.22),
        "bench_c": bench("c-gpu", "B 7", small=3.0),
    }
    page = speed_section(results, {})
    assert "| small | 1.22 to 1.56 | 2 |" in page and "| unet | 0.72 | 1 |" in page
    assert "### A, model not recorded\n" in page and "### c-gpu; B 7\n" in page
    assert result_lines(results).splitlines()[-1] == (
        "- Speed on a CPU, the time of the fastest PyTorch form over btjax's, on 2 processors, the lowest and the "
        "highest: small 1.22 to 1.56; on one processor: unet 0.72"
    )


def test_the_attack_is_collected_without_words_and_has_a_table_for_each_part(tmp_path):
    write_json(tmp_path / "attack.json", fake_attack())
    result = summaries.collect([tmp_path])
    assert "/home" not in str(result)
    page = tables({"attack": result})
    assert "## Bad inputs, damage, kills and full disks" in page and "more than 812 MiB" in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert "| options | 10 | 2 | 7 | 1 |" in rows and "| all | 20 | 3 | 16 | 1 |" in rows
    assert "| maps | 6 | 4 | 0 | 1 | 1 |" in rows
    assert "| train | 100 | 2 | 99 | 1 |" in rows
    assert "| links | 2 | 2 | 0 | `links.csv`, `links.json` |" in rows


def test_a_part_of_the_attack_that_was_not_run_has_no_table(tmp_path):
    write_json(tmp_path / "attack.json", {"schema": 1, "kills": {}, "flips": fake_attack()["flips"]})
    page = attack_tables(summaries.collect([tmp_path]))
    assert "| maps | 6 |" in page and page.count("\n|---") == 1


def test_outlines_of_a_network_that_classifies_stand_below_its_accuracy():
    number = {"value": 0.5, "ci95": [0.4, 0.6]}
    outlines = {"slices": 7, "interval": {"unit": "family"}, "by_class": {"glioma": {"dice": number}}}
    run = fake_run() | {"outlines": outlines | {name: number for name in ("dice", "pointing", "empty")}}
    table = joint_table([fake_run(), run])
    assert "| `slice`, fold 0, seed 0 | 7 | **0.500 (0.400 to 0.600)** |" in table and "by family" in table
    assert joint_table([fake_run()]) == ""
