"""The links commands as their users run them."""

import csv
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
from PIL import Image

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
    report = json.loads((folders["out"] / "links.json").read_text())
    assert report["copied_slices_in_two_classes"] == 2 and report["patients"] is None
    page = (folders["out"] / "report.html").read_text()
    assert "same pixels" in page and page.count("data:image/png") >= 1


def test_slices_of_another_data_set_are_counted_by_class(done, folders):
    report = json.loads((folders["out"] / "links.json").read_text())
    found = {row["name"]: row for row in report["against"]}
    assert found["glioma"]["duplicated"] >= 1 and found["glioma"]["slices"] == 4
    assert any(row["kind"] == "near" for row in rows_of(folders["out"] / "against.csv"))


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
