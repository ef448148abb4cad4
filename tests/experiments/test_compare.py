"""python -m experiments.compare: runs and ladders on one page."""

import shutil

import jax
import numpy as np
import pytest

import btjax
from btjax.base.errors import InputError
from btjax.base.files import read_json
from btjax.commands.compare import compare_runs
from btjax.runs.predictions import Predictions
from btjax.runs.run import Run
from tests.experiments import commands
from tests.reports.parser import Page


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two seeds of a linear model, and one of another data set: folders by name."""
    folder = tmp_path_factory.mktemp("runs")
    config = btjax.preset("linear_cpu").replace("training.epochs", 3).replace("data.image_size", 32)
    config = config.replace("data.data_dir", "phantom").replace("data.phantom_patients", 6)
    config = config.replace("data.phantom_slices", 3).replace("data.protocol", "patient").replace("data.split_seed", 0)
    configs = {"first": config, "second": config.replace("seed", 1), "other": config.replace("data.phantom_seed", 5)}
    with jax.numpy_dtype_promotion("standard"):
        for name, one in configs.items():
            btjax.train(one, folder / name)
    return folder


def environment(tmp_path):
    return {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "BTJAX_CACHE": str(tmp_path / "cache")}


def test_two_runs_stand_on_one_page_with_their_difference(runs, tmp_path):
    done = commands.run(environment(tmp_path), "compare", runs / "first", runs / "second", f"--workdir={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    page = Page((tmp_path / "out" / "compare.html").read_text())
    for expected in ("first", "second", "second less first", "Sensitivity", "Parameters (millions)"):
        assert expected in page.words()
    found = read_json(tmp_path / "out" / "compare.json")
    (pair,) = found["pairs"]
    one, two = (Run(runs / name).predictions.side("test") for name in ("first", "second"))
    assert pair["slices"] == len(one)
    assert pair["comparison"]["difference"] == pytest.approx(two.accuracy - one.accuracy)
    low, high = pair["comparison"]["difference_ci95"]
    assert low <= two.accuracy - one.accuracy <= high


def test_what_a_network_costs_is_counted(runs, tmp_path, standard_promotion):
    report = compare_runs([runs / "first", runs / "second"], tmp_path / "out")
    cost = report.entries[0].cost
    assert cost.parameters == 32 * 32 * 3 + 3
    assert cost.flops >= 2 * 32 * 32 * 3


def test_runs_of_other_slices_are_said_to_share_none(runs, tmp_path, standard_promotion):
    folder = tmp_path / "renamed"
    shutil.copytree(runs / "other", folder)
    held = Predictions.load(folder / "predictions.npz")
    names = np.array([f"other_{name}" for name in held.ids])
    Predictions(names, held.labels, held.sides, held.logits, held.classes, held.patients).save(
        folder / "predictions.npz"
    )
    report = compare_runs([runs / "first", folder], tmp_path / "out")
    assert report.pairs[0].comparison is None
    text = Page((tmp_path / "out" / "compare.html").read_text()).words()
    assert "first and renamed are not compared: they share no test slice" in text


def test_ids_of_other_patients_are_not_taken_for_the_same_slices(runs, tmp_path, standard_promotion):
    folder = tmp_path / "strangers"
    shutil.copytree(runs / "first", folder)
    held = Predictions.load(folder / "predictions.npz")
    people = np.array([f"another_{name}" for name in held.patients])
    Predictions(held.ids, held.labels, held.sides, held.logits, held.classes, people).save(folder / "predictions.npz")
    (pair,) = compare_runs([runs / "first", folder], tmp_path / "out").pairs
    assert (pair.slices, pair.strangers) == (0, len(held.side("test")))


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["first"], "1 run to compare, expected at least two"),
        (["first", "first"], "named twice"),
        (["first", "nowhere"], "nowhere/config.json: not found"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_writes_nothing(runs, tmp_path, folders, message):
    places = [runs / name for name in folders]
    done = commands.run(environment(tmp_path), "compare", *places, f"--workdir={tmp_path}/out")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_finished_comparison_and_a_runs_own_folder_are_not_written_over(runs, tmp_path, standard_promotion):
    out = tmp_path / "out"
    compare_runs([runs / "first", runs / "second"], out)
    compare_runs([runs / "first", runs / "second"], out)
    before = (out / "compare.json").read_bytes()
    with pytest.raises(InputError, match="holds results of compare with runs="):
        compare_runs([runs / "second", runs / "first"], out)
    with pytest.raises(InputError, match="not marked as a folder of compare"):
        compare_runs([runs / "first", runs / "second"], runs / "first")
    assert (out / "compare.json").read_bytes() == before
    assert not (runs / "first" / "compare.json").exists()
