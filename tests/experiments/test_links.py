"""The links commands as their users run them."""

import csv
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
from PIL import Image

from btjax.base.files import read_json
from btjax.data.phantom import make_phantom
from tests.experiments import commands


def run(cache, module, *flags) -> subprocess.CompletedProcess:
    return commands.run(os.environ | {"BTJAX_CACHE": str(cache)}, module, *flags)


def save(folder: pathlib.Path, images: dict[str, np.ndarray]) -> None:
    for name, image in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, pathlib.Path]:
    top = tmp_path_factory.mktemp("links")
    heads = make_phantom(2, 2, 64).images
    one = {f"glioma/g{row}.png": heads[row] for row in range(4)}
    one |= {"meningioma/m0.png": heads[5], "meningioma/copy.png": heads[0]}
    save(top / "data", one)
    save(top / "other", {"glioma/a.png": np.ascontiguousarray(heads[2][:, ::-1]), "meningioma/b.png": heads[9]})
    return {"data": top / "data", "other": top / "other", "out": top / "out", "cache": top / "cache"}


@pytest.fixture(scope="module")
def done(folders) -> subprocess.CompletedProcess:
    flags = [f"--data_dir={folders['data']}", f"--against={folders['other']}", f"--workdir={folders['out']}"]
    return run(folders["cache"], "links", *flags)


def rows_of(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_command_writes_tables_counts_and_a_page(done, folders):
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("report.html")
    slices, pairs = rows_of(folders["out"] / "links.csv"), rows_of(folders["out"] / "pairs.csv")
    assert len(slices) == 6 and set(slices[0]) == {"id", "group"}
    (copy,) = [row for row in pairs if row["kind"] == "copy"]
    group = {row["id"]: row["group"] for row in slices}
    assert group[copy["id"]] == group[copy["other_id"]] and copy["score"] == "1.0000"
    report = read_json(folders["out"] / "links.json")
    assert report["copied_slices_in_two_classes"] == 2 and report["patients"] is None
    page = (folders["out"] / "report.html").read_text()
    assert "same pixels" in page and page.count("data:image/png") >= 1


def test_slices_of_another_data_set_are_counted_by_class(done, folders):
    report = read_json(folders["out"] / "links.json")
    found = {row["name"]: row for row in report["against"]}
    assert found["glioma"]["duplicated"] >= 1 and found["glioma"]["slices"] == 4
    assert any(row["kind"] == "near" for row in rows_of(folders["out"] / "against.csv"))


def test_what_was_found_is_not_replaced_by_the_answer_to_another_question(done, folders):
    assert done.returncode == 0
    before = (folders["out"] / "links.json").read_bytes()
    other = run(folders["cache"], "links", f"--data_dir={folders['data']}", f"--workdir={folders['out']}")
    assert other.returncode == 2
    assert "holds results of links with against=" in other.stderr.strip().splitlines()[-1]
    assert (folders["out"] / "links.json").read_bytes() == before


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> pathlib.Path:
    """Slices with patients, numbered in the order in which they were taken."""
    folder, heads = tmp_path_factory.mktemp("known"), make_phantom(4, 4, 64)
    save(folder, {f"images/{row + 1}.png": image for row, image in enumerate(heads.images)})
    rows = [f"{row + 1},{label + 1},{patient}" for row, (label, patient) in enumerate(columns_of(heads))]
    (folder / "manifest.csv").write_text("\n".join(["id,label,pid", *rows]))
    return folder


def columns_of(slices):
    return zip(slices.labels.tolist(), slices.patients.tolist(), strict=True)


def test_the_rule_is_measured_and_fitted_on_slices_whose_patients_are_known(folders, known):
    out = folders["out"] / "measured.json"
    flags = [f"--data_dir={known}", "--image_size=64"]
    measured = run(folders["cache"], "measure_links", *flags, f"--against={folders['other']}", f"--output={out}")
    assert measured.returncode == 0, measured.stderr
    values = json.loads(out.read_text())
    assert values["neighbours_of_all"]["slices"] == 48 and values["neighbours"]["slices"] == values["near"]["slices"]
    assert {row["name"]: row["slices"] for row in values["against"]} == {"meningioma": 1, "glioma": 1}
    fitted = run(folders["cache"], "measure_links", *flags, "--fit")
    assert fitted.returncode == 0, fitted.stderr
    values = json.loads(fitted.stdout)
    assert {"USUAL", "HIGHEST", "COEFFICIENTS", "INTERCEPT", "NEIGHBOUR", "held out", "near"} == values.keys()
    assert all(0 <= row["recall"] <= 1 for row in values["near"]) and 0 < values["NEIGHBOUR"] <= 1


@pytest.mark.parametrize(
    ("module", "flags", "message"),
    [
        ("links", ["--workdir=OUT"], "links: --data_dir is missing"),
        ("links", ["--data_dir=phantom"], "links: --workdir is missing"),
        ("links", ["--data_dir=nowhere", "--workdir=OUT"], "nowhere"),
        ("measure_links", ["--data_dir=DATA"], "expected slices with patient ids"),
    ],
)
def test_bad_input_is_one_line(folders, tmp_path, module, flags, message):
    flags = [flag.replace("OUT", str(tmp_path)).replace("DATA", str(folders["data"])) for flag in flags]
    failed = run(folders["cache"], module, *flags)
    assert failed.returncode == 2
    assert message in failed.stderr.strip().splitlines()[-1] and "Traceback" not in failed.stderr
