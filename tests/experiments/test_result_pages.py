"""What stands on the pages comes from the results files."""

import re

import pytest

from btjax.systems.presets import preset
from experiments import results
from experiments.tables.cells import estimate
from experiments.tables.headlines import result_lines
from experiments.tables.overview import overview_page
from experiments.tables.page import tables
from experiments.tables.presets import MARK

PAGES = (results.ROOT / "README.md", results.RESULTS / "README.md")

LOOKS_MEASURED = re.compile(
    r"\d\s*%"  # a percentage
    r"|\bper ?cent\b"
    r"|(?<![\d.])0?\.\d{2,}\b(?!\.)"  # .93, 0.931
    r"|\b\d+ of \d+\b"  # 176 of 192
    r"|\b\d+(\.\d+)? (s|ms|seconds|minutes|hours)\b"
    r"|\b\d+(\.\d+)? times\b"
)
"""Digits that look like a result."""


def between_the_marks(page: str) -> str:
    return page.split(results.BEGIN)[1].split(results.END)[0].strip()


def prose(page: str) -> str:
    """A page without the marked part, its code blocks and its links."""
    outside = page.split(results.BEGIN)[0] + page.split(results.END)[1] if results.BEGIN in page else page
    return re.sub(r"(?ms)^```.*?^```|\]\([^)]*\)", "", outside)


def differences(found) -> list[str]:
    """The files whose generated part is not what these results give."""
    written = {PAGES[0]: result_lines(found), PAGES[1]: tables(found)}
    stale = [path.name for path, text in written.items() if between_the_marks(path.read_text("utf-8")) != text.strip()]
    page = results.RESULTS / "systems.html"
    stale += [page.name] if page.read_text("utf-8") != overview_page(found) else []
    return stale + [path.name for path, text in results.presets(found).items() if path.read_text("utf-8") != text]


def test_pages_and_presets_say_what_the_results_files_say():
    assert differences(results.all_results()) == []


def test_a_results_file_that_changes_makes_the_pages_and_its_preset_stale():
    found = results.all_results()
    run = next(run for run in found["cnn_cpu"]["runs"] if run["protocol"] == "family")
    run["test"]["accuracy"] += 0.01
    assert differences(found) == ["README.md", "README.md", "systems.html", "cnn_cpu.flags"]
    assert differences({name: one for name, one in results.all_results().items() if name != "unet_cpu"}) != []


@pytest.mark.parametrize("path", [*PAGES, results.FLAGS / "cnn_cpu.flags"], ids=["README", "results", "preset"])
def test_a_number_that_is_edited_by_hand_is_found(path, tmp_path, monkeypatch):
    text = path.read_text("utf-8")
    start = text.index(results.BEGIN) if path.suffix == ".md" else text.index(MARK)
    edited = text[:start] + re.sub(
        r"(\d\d)\.(\d)%", lambda found: f"{found[1]}.{(int(found[2]) + 1) % 10}%", text[start:], count=1
    )
    assert edited != text
    read = type(path).read_text
    monkeypatch.setattr(type(path), "read_text", lambda self, *a, **k: edited if self == path else read(self, *a, **k))
    assert differences(results.all_results()) == [path.name]


@pytest.mark.parametrize(
    "path", [*PAGES, *(results.ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md"))], ids=str
)
def test_no_result_stands_in_prose_that_no_command_writes(path):
    lines = prose(path.read_text("utf-8")).splitlines()
    assert [line for line in lines if LOOKS_MEASURED.search(line)] == []


@pytest.mark.parametrize("path", sorted(results.FLAGS.glob("*.flags")), ids=lambda path: path.stem)
def test_comments_of_presets_hold_no_result_but_the_papers_and_those_that_the_command_writes(path):
    comments = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#") and MARK not in line]
    assert [line for line in comments if LOOKS_MEASURED.search(line) and "by the paper" not in line] == []


@pytest.mark.parametrize(
    "line",
    [
        "accuracy 93.1%",
        "about .95 of them",
        "an AUC of 0.974",
        "30 of 32 slices",
        "87 percent",
        "it took 12 minutes",
        "1.6 times as long",
    ],
)
def test_what_looks_like_a_result_is_found(line):
    assert LOOKS_MEASURED.search(line)


@pytest.mark.parametrize(
    "line", ["Python 3.11 to 3.13", "fold 0 of five", "v0.2.0", "CC BY 4.0", "2452 / 420 / 192", "128 px"]
)
def test_what_is_no_result_is_left_alone(line):
    assert not LOOKS_MEASURED.search(line)


def test_the_readme_has_a_line_for_each_headline_result():
    found = results.all_results()
    shown = [line for line in result_lines(found).splitlines() if line.startswith("- ")]
    expected = ["a four-class set", "U-Net", "Maps of the CNN"]
    expected += ["Joint network"] if "options_joint" in found else []
    expected += [("Linear", "`family`")] if "ladder_linear_cpu" in found else []
    for name, title in (("cnn_cpu", "CNN"), ("vgg16_paper", "VGG16")):
        ladder = found.get(f"ladder_{name}", {"rungs": []})
        rungs = {rung["name"] for rung in ladder["rungs"]} & {"slice", "official", "family"}
        alone = {run["protocol"] for run in found.get(name, {"runs": []})["runs"]} & {"slice", "linked", "family"}
        expected += [(title, f"`{protocol}`") for protocol in rungs | alone]
    for names in expected:
        named = [names] if isinstance(names, str) else names
        assert any(all(name in line for name in named) for line in shown), names


def test_the_lines_of_a_ladder_stand_in_the_place_of_single_runs_of_its_protocols():
    found = results.all_results()
    ladder = found["ladder_vgg16_paper"]
    runs = {"runs": [{**found["cnn_cpu"]["runs"][0], "protocol": rung["name"]} for rung in ladder["rungs"][:1]]}
    both = result_lines({"vgg16_paper": runs, "ladder_vgg16_paper": ladder})
    assert both == result_lines({"ladder_vgg16_paper": ladder})
    assert "VGG16" in result_lines({"vgg16_paper": runs})


def test_a_ladder_of_one_other_protocol_has_a_line_and_no_empty_ones():
    ladder = results.all_results()["ladder_vgg16_paper"]
    rungs = [rung for rung in ladder["rungs"] if rung["name"] == "patient"]
    rungs[0]["audit"] |= {"gaps": [], "alone": []}
    lines = result_lines({"ladder_vgg16_paper": ladder | {"rungs": rungs, "leaks": []}}).splitlines()[2:]
    assert len(lines) == 1 and "`patient` **" in lines[0]


def test_a_ladder_of_a_network_that_outlines_tells_both_and_whether_it_was_refitted():
    found = results.all_results()
    outlines = found["joint_cpu"]["runs"][0]["outlines"]
    ladder = found["ladder_vgg16_paper"]
    rungs = [rung | {"outlines": outlines} for rung in ladder["rungs"] if rung["name"] == "official"]
    assert len(rungs) == 1
    config = preset("joint_efficientnet_cpu").replace("data.refit", True).to_json()
    refit = ladder | {"rungs": rungs, "refit": True, "leaks": [], "config": config}
    name = "ladder_joint_efficientnet_cpu_refit"
    (line,) = (line for line in result_lines({name: refit}).splitlines() if line.startswith("- "))
    assert "128 px: `official`, trained on the validation slices too **" in line
    assert f"Dice {estimate(outlines['dice'])}" in line and estimate(outlines["pointing"]) in line
    page = tables({name: refit})
    assert "`joint_efficientnet_cpu.flags`, refit" in page and "Outlines of the same predictions" in page
    assert f"| `official`, 5 folds, 3 seeds | {outlines['slices']} | **{estimate(outlines['dice'])}** |" in page
    assert "Outlines of the same predictions" not in tables({"ladder_vgg16_paper": ladder})
