"""The readable text of an HTML page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_UNSEEN = frozenset(("script", "style", "template", "noscript", "svg", "title"))
_LINES = frozenset(("br", "li", "tr", "dt", "dd", "option", "caption"))
_PARAGRAPHS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "div",
        "dl",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "ul",
    ]
)


def html_to_text(markup: str) -> tuple[str, str]:
    """(title, text): one blank line between blocks, images by their alternative text, nothing of scripts and styles."""
    reader = _Reader()
    # The closing tag flushes the parser. Its close() would take quadratic time on what malformed markup leaves behind.
    reader.feed(markup + "</html>")
    text = re.sub(r" ?\n ?", "\n", re.sub(r"[^\S\n]+", " ", "".join(reader.parts)))
    return " ".join("".join(reader.title).split()), re.sub(r"\n{3,}", "\n\n", text).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.title: list[str] = []
        self._unseen = ""
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == self._unseen or (tag in _UNSEEN and not self._unseen):
            self._unseen = tag
            self._depth += 1
        elif tag == "img":
            self.handle_data(f" {dict(attrs).get('alt') or ''} ")
        self._separate(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _UNSEEN:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._unseen:
            self._depth -= 1
            self._unseen = tag if self._depth else ""
        elif tag not in _LINES:
            self._separate(tag)

    def handle_data(self, data: str) -> None:
        if self._unseen == "title":
            self.title.append(data)
        elif not self._unseen:
            self.parts.append(re.sub(r"\s+", " ", data))

    def parse_html_declaration(self, i: int) -> int:
        """As HTML5 has it: all but comments ends at the next ">". The inherited one raises on unknown declarations."""
        return self.parse_comment(i) if self.rawdata.startswith("<!--", i) else self.parse_bogus_comment(i)

    def _separate(self, tag: str) -> None:
        if self._unseen:
            return
        if tag in _PARAGRAPHS:
            self.parts.append("\n\n")
        elif tag in _LINES:
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append(" ")
