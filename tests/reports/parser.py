"""Reads a page as a browser would, and fails on tags that do not nest."""

import html.parser

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(html.parser.HTMLParser):
    """Tags with their attributes, texts, and the rows of all tables."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.text, self.rows, self._open = [], [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" in self._open:
            return
        self.text.append(data)
        if "td" in self._open or ("th" in self._open and "tr" in self._open):
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data.strip()}".strip()

    def words(self) -> str:
        return " ".join(" ".join(self.text).split())
