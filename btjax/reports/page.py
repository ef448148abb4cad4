"""A self-contained HTML page: a headline, notes, and sections of tables, pictures and settings."""

from __future__ import annotations

import base64
import dataclasses
import functools
import importlib.resources
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from btjax.base.errors import foreign
from btjax.figures.style import Figure, png_bytes, svg_bytes
from btjax.reports.numbers import UNDEFINED

if TYPE_CHECKING:
    import jinja2

PURPOSE = "Brain tumours in MRI slices: for research, not for diagnosis."
"""Stands under the title of every page."""

_WIDE = 1400
"""Wider pictures, in pixels, scroll sideways instead of shrinking until nothing can be read."""

_BAR = 160
"""Length of a bar's scale in pixels."""


@dataclasses.dataclass(frozen=True)
class Bar:
    """A value on a scale from `start` to 1, with its interval as a band."""

    value: float
    bounds: tuple[float, float] | None
    start: float

    def place(self, value: float) -> str:
        """Where a value stands on the scale, in pixels."""
        return f"{(value - self.start) * _BAR / (1 - self.start):.1f}"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, small text below it (an interval, a size), and a bar beside it."""

    text: str
    below: str = ""
    bar: Bar | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; every text is escaped.

    Attributes:
      title: its caption.
      head: names of the columns.
      rows: cells as text, numbers or `Cell`; the first names the row.
      groups: names above the columns, each with the number of columns under it.
      strong: numbers of the rows that are emphasised.
      sortable: whether a click on a column's name sorts the rows by it.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    groups: Sequence[tuple[str, int]] = ()
    strong: Sequence[int] = ()
    sortable: bool = False

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows, all of `Cell`."""
        return [[cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row] for row in self.rows]

    @property
    def kinds(self) -> list[str]:
        """The CSS class of each column: `text` where all its cells are words, `line` where a group begins."""
        columns = list(zip(*self.cells, strict=True)) or [()] * len(self.head)
        kinds = ["text" if any(_is_word(cell.text) for cell in column) else "" for column in columns]
        place = 0
        for _, width in self.groups:
            if place > 1:
                kinds[place] += " line"
            place += width
        return [kind.strip() for kind in kinds]


def _is_word(text: str) -> bool:
    return text[:1].isalpha() and text != "not known"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure on the page, its caption, and what it shows in words (the caption again where that is empty)."""

    figure: Figure
    caption: str
    alt: str = ""

    @property
    def uri(self) -> str:
        """See `data_uri`."""
        return data_uri(self.figure)

    @property
    def width(self) -> int:
        """In pixels."""
        return round(float(self.figure.get_size_inches()[0]) * 96)

    @property
    def wide(self) -> bool:
        """Whether the picture scrolls sideways."""
        return self.width > _WIDE


@dataclasses.dataclass(frozen=True)
class Card:
    """One slice of a gallery.

    Attributes:
      title: above the picture, such as a file's name; escaped like every text.
      picture: the slice as PNG, or None where there is none.
      maps: names and transparent PNGs of the same size, which lie over the picture one at a time.
      verdict: in bold, below the picture.
      lines: small text.
      bars: names and values in [0, 1].
      muted: whether the verdict is that there is no answer.
    """

    title: str
    picture: bytes | None
    maps: Sequence[tuple[str, bytes]] = ()
    verdict: str = ""
    lines: Sequence[str] = ()
    bars: Sequence[tuple[str, float]] = ()
    muted: bool = False

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return png_uri(self.picture or b"")

    @property
    def layers(self) -> list[tuple[str, str]]:
        """The maps' names and data URIs."""
        return [(name, png_uri(content)) for name, content in self.maps]


def png_uri(content: bytes) -> str:
    """A PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page under its own heading; one without any content is left out.

    Attributes:
      title: the heading.
      tables: see `Table`.
      pictures: see `Picture`.
      pairs: names and values, such as settings; see `flattened`.
      remarks: paragraphs after the tables.
      side_by_side: whether the pictures share lines where there is room.
      cards: of a gallery; one section of a page has them.
    """

    title: str
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    pairs: Sequence[tuple[str, str]] = ()
    remarks: Sequence[str] = ()
    side_by_side: bool = False
    cards: Sequence[Card] = ()

    @property
    def map_names(self) -> list[str]:
        """The names of the cards' maps, each once."""
        return list(dict.fromkeys(name for card in self.cards for name, _ in card.maps))

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.tables or self.pictures or self.pairs or self.remarks or self.cards)


@dataclasses.dataclass(frozen=True)
class Headline:
    """The number that the page is about.

    Attributes:
      value: the number as text.
      name: what it is.
      details: small lines under it, such as its interval.
      sentences: what it means, beside it.
      table: beside it.
    """

    value: str
    name: str
    details: Sequence[str] = ()
    sentences: Sequence[str] = ()
    table: Table | None = None


@dataclasses.dataclass(frozen=True)
class Note:
    """A caution in a box, after a few words in bold."""

    text: str
    strong: str = ""


def render(
    title: str,
    sections: Sequence[Section],
    *,
    headline: Headline | None = None,
    lead: Sequence[str] = (),
    notes: Sequence[Note] = (),
) -> str:
    """Renders a page that needs no other file and no network.

    Args:
      title: the heading.
      sections: the content, in order. Every text is escaped.
      headline: in a box at the top.
      lead: paragraphs under the heading.
      notes: cautions under the headline.

    Returns:
      The page's HTML.
    """
    shown = [one for one in sections if not one.empty]
    sortable = any(table.sortable for section in shown for table in section.tables)
    content = {"sections": shown, "sortable": sortable, "headline": headline, "notes": notes}
    content["sliding"] = any(section.map_names for section in shown)
    return _environment().get_template("page.html").render(title=title, purpose=PURPOSE, lead=lead, **content)


def fragment(template: str, **content: Any) -> str:
    """Renders a part of a page: `template` is a file's name beside this one; every text of `content` is escaped."""
    return _environment().get_template(template).render(**content)


_OWN = {"style": "style.css", "cards_style": "cards.css", "sort": "sort.js", "slider": "slider.js"}


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2
    import markupsafe

    files = importlib.resources.files("btjax.reports")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: files.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The style sheet and the script are our own files; nothing else on a page is trusted.
    for name, file in _OWN.items():
        environment.globals[name] = markupsafe.Markup(files.joinpath(file).read_text("utf-8"))
    return environment


def data_uri(figure: Figure) -> str:
    """The figure as a data URI: PNG where it holds images, else SVG; the same figure gives the same bytes."""
    with foreign("a figure of the page"):
        if any(axes.images for axes in figure.axes):
            kind, content = "image/png", png_bytes(figure, 150)
        else:
            kind, content = "image/svg+xml", svg_bytes(figure)
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def flattened(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The settings of a nested dict as names and values.

    Example:
      >>> flattened({"model": {"widths": (64, 256)}, "seed": 0})
      [('model.widths', '64, 256'), ('seed', '0')]
    """
    pairs = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            pairs += flattened(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            pairs.append((name, ", ".join(map(str, value))))
        else:
            pairs.append((name, UNDEFINED if value is None else str(value)))
    return pairs
