"""Extracts the readable text of an HTML page.

The libraries for this fail on hostile or ordinary pages, as docs/log.md describes.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

_HIDDEN = frozenset(("script", "style", "template", "noscript", "svg", "title"))
_LINES = frozenset(("br", "li", "tr", "dt", "dd", "option", "caption"))
_PARAGRAPHS = frozenset(
    """address article aside blockquote body div dl fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr
    main nav ol p pre section table ul""".split()
)


def html_to_text(markup: str) -> tuple[str, str]:
    """Return the title and the visible text, with a blank line between blocks and images as their alternative text."""
    reader = _Reader()
    # The closing tag flushes the parser. Its close() takes quadratic time on malformed markup.
    reader.feed(markup + "</html>")
    text = re.sub(r" ?\n ?", "\n", re.sub(r"[^\S\n]+", " ", "".join(reader.parts)))
    return " ".join("".join(reader.title).split()), re.sub(r"\n{3,}", "\n\n", text).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.title: list[str] = []
        self._hidden_tag = ""
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == self._hidden_tag or (tag in _HIDDEN and not self._hidden_tag):
            self._hidden_tag = tag
            self._depth += 1
        elif tag == "img":
            self.handle_data(f" {dict(attrs).get('alt') or ''} ")
        self._separate(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _HIDDEN:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden_tag:
            self._depth -= 1
            self._hidden_tag = tag if self._depth else ""
        elif tag not in _LINES:
            self._separate(tag)

    def handle_data(self, data: str) -> None:
        if self._hidden_tag == "title":
            self.title.append(data)
        elif not self._hidden_tag:
            self.parts.append(re.sub(r"\s+", " ", data))

    def parse_html_declaration(self, i: int) -> int:
        """End a declaration at the next ">", as HTML5 does. The inherited method raises for unknown declarations."""
        return self.parse_comment(i) if self.rawdata.startswith("<!--", i) else self.parse_bogus_comment(i)

    def _separate(self, tag: str) -> None:
        if self._hidden_tag:
            return
        if tag in _PARAGRAPHS:
            self.parts.append("\n\n")
        elif tag in _LINES:
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append(" ")
