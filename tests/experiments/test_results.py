import json
import pathlib

import pytest

from btjax.base.errors import InputError
from experiments import results, summaries
from tests.experiments.fake_results import fake_run


def test_runs_of_another_system_do_not_go_into_a_results_file(monkeypatch):
    other = fake_run() | {"config": {"seed": 3, "system": "vgg16"}}
    monkeypatch.setattr(summaries, "summary", lambda folder: other)
    with pytest.raises(InputError, match="a run of vgg16, the results file holds cnn"):
        summaries.collect([pathlib.Path("anywhere")], {"runs": [fake_run()]})
    with pytest.raises(InputError, match="holds something else"):
        summaries.collect([pathlib.Path("anywhere")], {"by_epoch": {}})


def test_segmenters_are_kept_like_classifiers_and_do_not_go_into_their_file(tmp_path, monkeypatch):
    runs = {fold: fake_run("family", fold=fold, accuracy=fold / 10) for fold in range(3)}
    monkeypatch.setattr(summaries, "task_of", lambda folder: "segmentation")
    monkeypatch.setattr(summaries, "segmenter_summary", lambda folder: runs[int(folder.name)])
    found = summaries.collect([tmp_path / "1", tmp_path / "2"], {"outlined": [runs[0], runs[1] | {"title": "old"}]})
    assert found == {"outlined": [runs[0], runs[1], runs[2]]}
    with pytest.raises(InputError, match="a segmenter's run, but the results file holds something else"):
        summaries.collect([tmp_path / "1"], {"runs": []})


def test_a_saliency_folder_without_scores_or_beside_another_is_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saliency.json").write_text("{}")
    with pytest.raises(InputError, match="report of schema 1, expected 2"):
        summaries.collect([tmp_path / "a"])
    with pytest.raises(InputError, match="expected one folder for this results file"):
        summaries.collect([tmp_path / "a", tmp_path / "b"])


def test_results_are_kept_in_four_digits():
    assert summaries.rounded({"a": [0.123456, 3, None, "x"], "b": (0.98765, True)}) == {
        "a": [0.1235, 3, None, "x"],
        "b": [0.9877, True],
    }


def test_a_config_is_kept_without_the_places_of_files():
    config = {"seed": 1, "data": {"data_dir": "/home", "fold": 0}, "extra": {"weights": "/home", "head": "dense"}}
    assert summaries.without_paths(config) == {"seed": 1, "data": {"fold": 0}, "extra": {"head": "dense"}}


def test_runs_of_a_protocol_fold_and_seed_take_the_place_of_earlier_ones(monkeypatch):
    monkeypatch.setattr(summaries, "summary", lambda folder: fake_run("slice", seed=1, accuracy=0.5))
    before = {"runs": [fake_run("slice", seed=0), fake_run("slice", seed=1), fake_run("family")]}
    after = summaries.collect([pathlib.Path("anywhere")], before)["runs"]
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


@pytest.mark.parametrize(
    "text", ["[]", "3", '{"status": "ok"}', '{"schema": 3, "task": ["external"]}', '{"task": "external"}']
)
def test_the_report_of_another_program_is_one_line(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(InputError, match=r"report\.json") as caught:
        summaries.collect([tmp_path])
    assert "\n" not in str(caught.value)


def test_a_results_file_carries_a_checksum_and_a_changed_number_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(summaries, "summary", lambda folder: fake_run(accuracy=0.9))
    monkeypatch.setattr(results, "write_tables", lambda: None)
    monkeypatch.setattr("sys.argv", ["results", "--name=cnn", str(tmp_path)])
    results.main()
    assert results.all_results() == {"cnn": {"runs": [fake_run(accuracy=0.9)]}}
    path = tmp_path / "cnn.json"
    path.write_text(path.read_text().replace('"accuracy": 0.9', '"accuracy": 0.8', 1))
    with pytest.raises(InputError, match=r"cnn\.json: damaged, or changed by hand"):
        results.all_results()


def test_a_results_file_of_another_program_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match=r"list\.json: found list, expected a results file"):
        results.all_results()
