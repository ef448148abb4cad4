"""A page of tables, pictures and settings: complete in one file, well-formed, with every text escaped."""

import re
import shutil
import subprocess

import pytest
from matplotlib.figure import Figure

from btjax.reports.numbers import UNDEFINED
from btjax.reports.page import Bar, Cell, Headline, Note, Picture, Section, Table, data_uri, flattened, render
from tests.reports.parser import Page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
EVIL = "<script>alert('x')</script>"


def figure(width: float = 2, image: bool = False) -> Figure:
    drawn = Figure(figsize=(width, 1))
    panel = drawn.subplots()
    if image:
        panel.imshow([[0, 1], [1, 0]])
    else:
        panel.plot([0, 1], [0, 1])
    return drawn


def test_a_page_holds_its_tables_pictures_and_settings():
    table = Table("Scores", ["method", "mean"], [["gradient", Cell("0.500", "0.400 to 0.600")], ["noise", 1]])
    section = Section("Results", [table], [Picture(figure(), "Loss")], [("seed", "0")], ["A remark."])
    page = Page(render("Title", [section, Section("Nothing")], lead=["A lead."]))
    assert page.rows == [["method", "mean"], ["gradient", "0.500 0.400 to 0.600"], ["noise", "1"]]
    for expected in ("Title", "A lead.", "Scores", "A remark.", "seed 0", "for research, not for diagnosis"):
        assert expected in page.words()
    assert "Nothing" not in page.words()
    assert [attributes["alt"] for tag, attributes in page.tags if tag == "img"] == ["Loss"]
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")


def test_every_text_is_escaped():
    table = Table(EVIL, [EVIL, "b"], [[EVIL, Cell(EVIL, EVIL)]], [(EVIL, 2)])
    section = Section(EVIL, [table], [Picture(figure(), EVIL, EVIL)], [(EVIL, EVIL)], [EVIL])
    headline = Headline(EVIL, EVIL, [EVIL], [EVIL], table)
    text = render(EVIL, [section], headline=headline, lead=[EVIL], notes=[Note(EVIL, EVIL)])
    assert "<script" not in text
    assert Page(text).words().count(EVIL) >= 20


def test_the_style_sheet_is_part_of_the_page_and_nothing_is_loaded():
    text = render("Title", [Section("Figures", pictures=[Picture(figure(), "Loss")])])
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    assert '"Segoe UI"' in text
    assert not re.search(r"https?:|@import|url\(|<script|<link", text)


def test_columns_of_words_are_marked_and_columns_of_numbers_are_not():
    table = Table(
        "", ["name", "count", "best", ""], [["a", 3, "noise", "0.1"], ["b", "not known", "centre", UNDEFINED]]
    )
    assert table.kinds == ["text", "", "text", ""]
    assert Table("", ["a", "b"], []).kinds == ["", ""]


def test_a_group_of_columns_is_set_apart():
    table = Table("", list("abcd"), [[1, 2, 3, 4]], [("", 1), ("Here", 1), ("Paper", 2)])
    assert table.kinds == ["", "", "line", ""]
    page = Page(render("Title", [Section("Part", [table])]))
    assert page.rows[0] == ["", "Here", "Paper"]


def test_bars_lie_on_their_scale():
    assert Bar(0.75, (0.6, 0.9), 0.5).place(0.75) == "80.0"
    bars = [[Cell("", bar=Bar(value, bounds, 0.5))] for value, bounds in ((1.0, (0.5, 1.0)), (0.5, None))]
    text = render("Title", [Section("Part", [Table("", ["a"], bars)])])
    for x, width in re.findall(r'<rect class="\w+" x="([\d.]+)".*? width="([\d.]+)"', text):
        assert 0 <= float(x) <= float(x) + float(width) <= 163
    assert text.count('class="band"') == 1 and text.count('class="point"') == 2


def test_wide_pictures_scroll():
    pictures = [Picture(figure(width), "x") for width in (10, 20)]
    assert [one.width for one in pictures] == [960, 1920]
    assert [one.wide for one in pictures] == [False, True]
    assert render("Title", [Section("Part", pictures=pictures)]).count('class="scroll wide"') == 1


def test_figures_with_images_are_png_and_others_svg():
    assert data_uri(figure(image=True)).startswith("data:image/png;base64,iVBOR")
    assert data_uri(figure()).startswith("data:image/svg+xml;base64,")


@pytest.mark.parametrize("image", [False, True])
def test_the_same_figure_gives_the_same_bytes(image):
    assert data_uri(figure(image=image)) == data_uri(figure(image=image))


def test_nested_settings_become_dotted_names():
    expected = [("a.b", "1, 2"), ("a.c", "\N{EN DASH}"), ("d", "{}")]
    assert flattened({"a": {"b": (1, 2), "c": None}, "d": {}}) == expected


def sortable_page() -> str:
    rows = [["b", "90.1%"], ["c", "100.0%"], ["a", "9.5%"]]
    return render("Sorted", [Section("S", [Table("Scores", ["run", "accuracy"], rows, sortable=True)])])


def test_only_a_page_with_a_table_to_sort_has_a_script():
    assert sortable_page().count("<script>") == 1
    assert "<script" not in render("Title", [Section("S", [Table("Scores", ["run"], [["a"]])])])


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome here to open the page in")
def test_a_click_on_a_columns_name_sorts_by_its_numbers_in_a_browser(tmp_path):
    def rows_after(clicks: str) -> list[str]:
        page = tmp_path / "page.html"
        page.write_text(sortable_page().replace("</body>", f"<script>{clicks}</script></body>"))
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
        shown = Page(subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout)
        return [row[0] for row in shown.rows[1:]]

    head = "const heads = document.querySelectorAll('table.sortable thead button');"
    assert rows_after(head) == ["b", "c", "a"]
    assert rows_after(f"{head} heads[1].click();") == ["c", "b", "a"]
    assert rows_after(f"{head} heads[1].click(); heads[1].click();") == ["a", "b", "c"]
    assert rows_after(f"{head} heads[0].click();") == ["c", "b", "a"]
