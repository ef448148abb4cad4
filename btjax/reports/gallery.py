"""A self-contained HTML page of tables and figures."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence

import jinja2

from btjax.reports.classifier import data_uri


def render_gallery(title: str, sections: Sequence[dict], lead: Sequence[str] = ()) -> str:
    """Renders a page that needs no other file and no network.

    Args:
      title: the heading.
      sections: each with `title`, `tables` (each `title`, `head`, `rows` of texts) and `figures` (each a matplotlib
        `figure` and its `caption`). Every text is escaped.
      lead: paragraphs under the heading.

    Returns:
      The page's HTML.
    """
    source = importlib.resources.files("btjax.reports").joinpath("gallery.html").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    embedded = [
        section
        | {"figures": [{"uri": data_uri(one["figure"]), "caption": one["caption"]} for one in section["figures"]]}
        for section in sections
    ]
    return environment.from_string(source).render(title=title, lead=lead, sections=embedded)
