"""Region proposals as their users make them: on a tiny CNN and the phantom data set."""

import dataclasses
import json
import os

import numpy as np
import pytest

import btjax
from btjax.base.digests import content_digest
from btjax.base.files import read_json
from btjax.data.dataset import load_data
from btjax.runs.outlines import Outlines
from btjax.saliency.boxes import box_masks, mask_boxes, propose
from experiments import summaries
from experiments.tables.page import tables
from tests.experiments.commands import run
from tests.experiments.test_saliency import DATA, NETWORK


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return os.environ | {"BTJAX_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def proposed(environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    done = run(environment, "cnn", *DATA, *NETWORK, f"--workdir={folder / 'cnn'}")
    assert done.returncode == 0, done.stderr
    flags = [f"--checkpoint={folder / 'cnn'}", f"--workdir={folder / 'out'}", "--methods=gradient,rise"]
    done = run(environment, "proposals", *flags, "--rise_masks=4", "--costly_slices=3", "--labels")
    assert done.returncode == 0, done.stderr
    assert "centre_boxes" in done.stdout
    return folder / "out"


def test_every_source_has_its_recall_beside_the_better_control(proposed):
    report = read_json(proposed / "proposals.json")
    rows = report["rows"]
    # RISE explains a few slices here, and so proposes nothing.
    assert {row["source"] for row in rows} == {"gradient", "random_boxes", "centre_boxes"}
    assert {row["group"] for row in rows} == {"all", *report["classes"]}
    assert {row["count"] for row in rows} == {1, 5, 10} and {row["overlap"] for row in rows} == {0.3, 0.5}
    for row in rows:
        assert row["control"] == (row["over_control"] is None) == (row["better_control"] == "")
        assert 0 <= row["recall"]["value"] <= 1


def test_more_boxes_and_a_smaller_overlap_find_no_fewer_tumours(proposed):
    rows = read_json(proposed / "proposals.json")["rows"]
    found = {(row["source"], row["group"], row["overlap"], row["count"]): row["recall"]["value"] for row in rows}
    for (source, group, overlap, count), value in found.items():
        assert value >= max(found[source, group, overlap, fewer] for fewer in (1, 5, 10) if fewer <= count)
        assert found[source, group, 0.3, count] >= found[source, group, 0.5, count]


def test_the_difference_is_from_the_control_that_finds_more(proposed):
    rows = read_json(proposed / "proposals.json")["rows"]
    for row in rows:
        if not row["control"]:
            same = [one for one in rows if all(one[key] == row[key] for key in ("group", "count", "overlap"))]
            best = max(one["recall"]["value"] for one in same if one["control"])
            assert row["over_control"]["value"] == pytest.approx(row["recall"]["value"] - best)


def test_the_page_shows_the_boxes(proposed):
    page = (proposed / "proposals.html").read_text()
    assert "Region proposals of Custom CNN" in page and "data:image" in page
    maps = np.load(proposed / "maps" / "gradient.npy", allow_pickle=False)
    assert maps.shape[1:] == (32, 32)


def test_the_results_page_tells_every_source_with_the_controls_last(proposed):
    kept = summaries.collect([proposed])
    assert "data_dir" not in json.dumps(kept)
    text = tables({"proposals_cnn": kept})
    lines = [line.strip("| ").split(" | ") for line in text.split("## Region proposals")[1].splitlines() if "|" in line]
    assert [line[0] for line in lines[2:]] == ["gradient", "random_boxes", "centre_boxes"]
    row = next(one for one in kept["recalls"] if (one["source"], one["count"], one["overlap"]) == ("gradient", 5, 0.3))
    assert row["group"] == "all"
    cell = dict(zip(lines[0], lines[2], strict=True))["first 5, overlap 0.3"]
    assert cell.startswith(f"{row['recall']['value']:.3f}") and f"{row['over_control']['value']:+.3f}" in cell


def test_labels_are_first_boxes_and_no_mask_of_a_test_slice(proposed):
    assert sorted(path.stem for path in (proposed / "labels").iterdir()) == ["centre_boxes", "gradient"]
    cnn = btjax.restore(proposed.parent / "cnn")
    labels = {name: Outlines.load(proposed / "labels" / f"{name}.npz") for name in ("centre_boxes", "gradient")}
    for outlines in labels.values():
        masks, tested = outlines.masks, outlines.sides == "test"
        assert not masks[tested].any() and masks[~tested].any(axis=(1, 2)).all()
        boxes = mask_boxes(masks[~tested])
        assert (box_masks(boxes, 32) == masks[~tested]).all()
    assert len(np.unique(labels["centre_boxes"].bits[~tested], axis=0)) == 1
    images = load_data(cnn.config.data, None).slices.images[~tested]
    first = propose(btjax.explain(cnn, images, "gradient"), 1)[:, 0]
    assert (box_masks(first, 32) == labels["gradient"].masks[~tested]).all()


def test_a_segmenter_learns_from_labels_and_is_tested_on_masks(environment, proposed):
    flags = ["--system=segmenter", "--width=4", "--halvings=1", "--epochs=1", "--seed=1", "--select=validation_dice"]
    label = proposed / "labels" / "centre_boxes.npz"
    folder = proposed.parent / "taught"
    done = run(environment, "train", *DATA, *flags, f"--taught_by={label}", f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    assert "o person drew the masks" in (folder / "report.html").read_text()
    true = run(environment, "train", *DATA, *flags, f"--workdir={proposed.parent / 'true'}")
    assert true.returncode == 0, true.stderr
    taught, whole = (btjax.restore(proposed.parent / name) for name in ("taught", "true"))
    assert content_digest(taught.variables) != content_digest(whole.variables)
    assert taught.report.test.slices == whole.report.test.slices
    wrong = [f"--taught_by={label}", f"--workdir={proposed.parent / 'wrong'}", "--fold=1"]
    done = run(environment, "train", *DATA, *flags, *wrong)
    assert done.returncode == 2 and "training and validation slices are none there" in done.stderr
    assert "Traceback" not in done.stderr and not (proposed.parent / "wrong" / "report.json").exists()
    outlines = Outlines.load(label)
    tested = int((outlines.sides == "test").sum())
    seen = proposed.parent / "seen.npz"
    dataclasses.replace(outlines, sides=np.full(len(outlines), "train")).save(seen)
    done = run(environment, "train", *DATA, *flags, f"--taught_by={seen}", f"--workdir={proposed.parent / 'wrong'}")
    assert done.returncode == 2
    assert f"made by a run that was trained on {tested} of the {tested} test slices" in done.stderr.splitlines()[-1]
