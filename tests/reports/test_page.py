"""A page of tables, pictures and settings: complete in one file, well-formed, with every text escaped."""

import re

import pytest
from matplotlib.figure import Figure

from btjax.reports.numbers import UNDEFINED
from btjax.reports.page import Bar, Cell, Headline, Note, Picture, Section, Table, data_uri, flattened, render
from tests.reports.parser import Page

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
