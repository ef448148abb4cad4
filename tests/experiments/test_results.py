import json

import pytest

from experiments import results


def fake_run(protocol="slice", seed=0, accuracy=0.9) -> dict:
    scores = {"slices": 10, "accuracy": accuracy, "accuracy_ci95": [0.8, 1.0], "macro_f1": 0.88, "roc_auc": 0.99}
    return {
        "protocol": protocol,
        "split": {"fold": 0, "seed": seed},
        "counts": {"test": {"slices": 10, "patients": 4}},
        "test": scores,
        "validation": scores | {"accuracy": 0.5},
        "held_out": scores,
        "test_by_patient": None,
        "baselines": {"linear_model": 0.7, "class_prior": 0.4},
        "training": {"seconds": 120},
    }


def test_the_table_has_a_row_for_each_run_and_the_mean_of_a_protocols_seeds():
    table = results.table([fake_run(seed=0, accuracy=0.9), fake_run(seed=1, accuracy=0.94), fake_run("patient")])
    assert table.count("| slice |") == 2 and table.count("| patient, fold 0 |") == 1
    assert "| **94.0** (80.0 to 100.0) |" in table
    assert "Mean of the 2 `slice` runs: **92.0** test, 50.0 validation" in table


def test_the_readme_says_what_the_results_files_say():
    text = (results.ROOT / "README.md").read_text(encoding="utf-8")
    assert text.split(results.BEGIN)[1].split(results.END)[0].strip() == results.readme_tables().strip()


def test_a_folder_without_a_report_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["results", "--name=x", str(tmp_path)])
    assert results.main() == 2
    assert f"{tmp_path}/report.json: not found" in capsys.readouterr().err


def test_results_files_name_no_folder_of_the_machine_that_wrote_them():
    for path in results.RESULTS.glob("*.json"):
        assert "data_dir" not in json.dumps(json.loads(path.read_text()))


@pytest.mark.parametrize("path", sorted(results.RESULTS.glob("cnn_*.json")), ids=lambda path: path.stem)
def test_quoted_accuracies_follow_from_their_confusion_matrices(path):
    for run in json.loads(path.read_text())["runs"]:
        matrix = run["confusion_matrix"]
        correct = sum(row[index] for index, row in enumerate(matrix))
        assert run["test"]["accuracy"] == pytest.approx(correct / run["counts"]["test"]["slices"])


def test_the_speed_table_has_a_row_for_each_form():
    row = {
        "ms_per_image": [1.0, 2.0, 3.0],
        "time_over_btjax": 1.5,
        "gflops": 40.4,
        "share_of_matmul_peak": 0.5,
        "compile_seconds": 7.0,
    }
    table = results.speed_table({"cases": {"small": {"forms": {"btjax": row, "torch_eager": row}}}})
    assert "| small | btjax | 2.0 | 1.50 | 40 | 50% | 7 |" in table
    assert table.count("| small |") == 2
