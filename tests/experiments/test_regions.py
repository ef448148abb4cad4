"""The commands of Cheng's two systems: what they write, what the results page says of it, and what is one line."""

import os

import pytest

from experiments.summaries import collect
from experiments.tables.page import tables
from tests.experiments.commands import run

SMALL = (
    "--data_dir=phantom",
    "--phantom_patients=5",
    "--phantom_slices=2",
    "--image_size=48",
    "--protocol=family",
    "--folds=2",
    "--radius=2",
    "--sampled_patches=1000",
)


def command(module, name, folder, *others):
    flags = f"--flagfile=experiments/flags/{name}.flags"
    environment = {**os.environ, "BTJAX_CACHE": str(folder / "cache")}
    return run(environment, module, flags, *SMALL, f"--workdir={folder / 'out'}", *others)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regions")
    return folder / "out", command("regions", "cheng2015", folder, "--words=8", "--stages=rings")


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieval")
    return folder / "out", command(
        "retrieval", "cheng2016", folder, "--gaussians=4", "--patch=3", "--variants=fisher,words_plain"
    )


def test_the_table_is_written_and_its_best_cell_told(table):
    folder, done = table
    assert done.returncode == 0, done.stderr
    assert "\n21 cells; rings_bow_level1: " in done.stdout
    page = (folder / "regions.html").read_text(encoding="utf-8")
    assert "91.28" in page and "also when it is tested" in page


def test_the_results_page_has_every_cell_beside_the_published_one(table):
    text = tables({"regions_small": collect([table[0]])})
    for published in ("82.49", "91.28", "89.72", "91.02"):
        assert f"{published} / " in text
    assert "**true outlines, also of the slices that are tested**" in text
    assert "/cache" not in text


def test_retrieval_is_written_and_its_means_told(ranked):
    folder, done = ranked
    assert done.returncode == 0, done.stderr
    assert "Fisher vectors of parts, learned metric: mean average precision" in done.stdout
    page = (folder / "retrieval.html").read_text(encoding="utf-8")
    assert page.count("<figcaption>Queries of ") == 3 and "94.68%" in page


def test_the_results_page_has_every_way_to_compare(ranked):
    text = tables({"retrieval_small": collect([ranked[0]])})
    assert "| words of parts, as they are |" in text and "94.68%" in text


@pytest.mark.parametrize(
    ("module", "name", "others", "message"),
    [
        ("regions", "cheng2015", ["--stages=nothing"], "--stages=nothing: expected some of radius, rings, classifier"),
        ("regions", "cheng2015", ["--patch=4"], "--patch=4: expected an odd number"),
        ("regions", "cheng2015", ["--radius=48"], "--radius=48: expected less than --image_size=48"),
        ("regions", "cheng2015", ["--protocol=official"], "--protocol=official"),
        ("regions", "cheng2015", ["--words=300000"], "words"),
        ("regions", "cheng2015", ["--outlines=nowhere"], "nowhere/outlines.npz: not found"),
        ("retrieval", "cheng2016", ["--variants=all"], "--variants=all: expected some of fisher"),
        ("retrieval", "cheng2016", ["--networks=nowhere", "--variants="], "nowhere/config.json: not found"),
        ("retrieval", "cheng2016", ["--epochs=3"], "epochs"),
        ("train", "cheng2015", ["--resume"], "no run to resume"),
    ],
)
def test_mistakes_are_one_line(module, name, others, message, tmp_path):
    done = command(module, name, tmp_path, *others)
    assert done.returncode == 2
    assert message in done.stderr.strip().splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr
