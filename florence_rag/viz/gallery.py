"""Shows hits, answers and citations in notebooks, as HTML and as Markdown.

Names and text from files are escaped: they never become markup, a link or a script. Images are small re-encoded JPEGs
inside the page, so that viewing it fetches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from html import escape
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np

from florence_rag.errors import InputError
from florence_rag.jpeg import jpeg_uri
from florence_rag.tokenize import shorten
from florence_rag.types import Answer, Hit, Locator
from florence_rag.viz.inline_video import video_html
from florence_rag.viz.shown_results import Result, to_results
from florence_rag.viz.thumbnails import SIDE_PX, FrameProvider, thumbnail_of

MAX_CONTENT = 300
_CARD = "display:inline-block;vertical-align:top;max-width:{width}px;margin:0 14px 14px 0;font:13px sans-serif"
_GRAY = "color:#6e7781;overflow-wrap:anywhere"
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~:@=^$])")


class HeatMapProvider(Protocol):
    """An object that explains hits, such as `FlorenceRAG.retriever`."""

    def heat_map(self, hit: Hit, query: str, /) -> np.ndarray:
        """Return how much each part of the image of a hit adds to its similarity to a query, (rows, columns)."""
        ...


def show(
    rag: FrameProvider, results: Any, *, side_px: int = SIDE_PX, query: str | None = None, play: bool = False
) -> Gallery:
    """Show hits, citations, an answer, documents of LangChain, nodes of LlamaIndex, or what a tool returned.

    Args:
        rag: The FlorenceRAG that they come from.
        results: One of them, a list of them, or the result, the message or the artifact of a tool.
        side_px: The largest width and height of a thumbnail.
        query: A text. Images of hits are drawn warmer where they show it, which costs 64 embeddings for each of them.
        play: Whether clips of local files of at most 5 MB are embedded as videos, which play from their moment.

    Returns:
        A gallery that a notebook displays.

    Raises:
        InputError: If a result is something else or from another index, or a query is given for an object that draws no
            heat maps.
    """
    if query is not None and not hasattr(rag, "retriever"):
        raise InputError(f"a {type(rag).__name__} draws no heat maps; give a FlorenceRAG, or no query")
    each, answer = to_results(rag, results)
    return Gallery(rag, each, answer, side_px, query, play)


def link_to(source: str, locator: Locator) -> str:
    """Return a link to a place in a file, for a browser.

    Names of sources come from outside, so only absolute paths become links: no link can run a script.

    Args:
        source: The source of a hit.
        locator: The place in it.

    Returns:
        A file: URL with "#t=start,end" for a clip or "#page=n" for a page; "" if the source is not an absolute path.
    """
    fragment = "" if locator.page is None else f"#page={locator.page}"
    if locator.start_s is not None:
        times = [time for time in (locator.start_s, locator.end_s) if time is not None]
        fragment = "#t=" + ",".join(f"{time:.3f}".rstrip("0").rstrip(".") for time in times)
    try:
        return PurePath(source).as_uri() + fragment
    except (ValueError, UnicodeError):
        return ""


class Card:
    """One hit or citation as text, with its thumbnail and a link, which may be ""."""

    def __init__(self, number: int, result: Result, jpeg: bytes | None) -> None:
        self.number, self.id, self.jpeg = number, result.id, jpeg
        self.name = PurePath(result.source).name or result.source
        self.place = ", ".join(part for part in (result.kind, str(result.locator)) if part)
        self.link = link_to(result.source, result.locator)
        if isinstance(result, Hit):
            self.measure, content = f"{result.score:.3f}" if result.score else "", result.content
        else:
            self.measure, content = _confidence(result.confidence), result.quote
        self.content = shorten(" ".join(content.split()), MAX_CONTENT)

    def text(self) -> str:
        """Return one line for a terminal."""
        return f"{self.number}. {', '.join(part for part in (self.name, self.place, self.measure) if part)}"

    def html(self, video: str = "") -> str:
        """Return the card as HTML, with a video in place of the thumbnail if there is one."""
        name, image = escape(self.name), video
        if self.jpeg and not video:
            image = f'<img src="{jpeg_uri(self.jpeg)}" alt="{name}" style="max-width:100%">'
        title = f"{self.number}. {name}"
        if self.link:
            title = f'<a href="{escape(self.link)}" rel="noreferrer">{title}</a>'
        lines = (self.place, self.measure, self.content, f"id {self.id}" if self.id else "")
        small = f'<div style="{_GRAY}">{"<br>".join(escape(line) for line in lines if line)}</div>'
        return f'<div style="{_CARD.format(width=3 * SIDE_PX)}">{image}<div><b>{title}</b></div>{small}</div>'

    def markdown(self) -> str:
        """Return the card as CommonMark."""
        title = _plain_markdown(self.name)
        if self.link and not set(self.link) & set("<>\n\\"):
            title = f"[{title}](<{self.link}>)"
        heading = (f"**{self.number}.** {title}", _plain_markdown(self.place), self.measure)
        parts = [", ".join(part for part in heading if part)]
        if self.jpeg:
            parts.append(f"![{_plain_markdown(self.name)}]({jpeg_uri(self.jpeg)})")
        if self.content:
            parts.append(f"> {_plain_markdown(self.content)}")
        return "\n\n".join(parts)


class Gallery:
    """Hits or citations that a notebook displays; `show(rag, hits)` returns one.

    Attributes:
        results: The hits or citations.
        answer: The answer that the citations belong to, if any.
    """

    def __init__(
        self,
        rag: FrameProvider,
        results: Sequence[Result],
        answer: Answer | None = None,
        side_px: int = SIDE_PX,
        query: str | None = None,
        play: bool = False,
    ) -> None:
        self.answer = answer
        self.results = tuple(results)
        self._rag = rag
        self._side_px = side_px
        self._query = query
        self._play = play

    def __repr__(self) -> str:
        return "\n".join(card.text() for card in self.cards(images=False)) or "Nothing found."

    def _repr_html_(self) -> str:
        return self.html()

    def cards(self, images: bool = True) -> Iterator[Card]:
        """Yield a card for each hit or citation."""
        for number, result in enumerate(self.results, start=1):
            yield Card(number, result, self._thumbnail(result) if images else None)

    def _thumbnail(self, result: Result) -> bytes | None:
        weights = None
        if self._query and isinstance(result, Hit):
            explainer: HeatMapProvider = getattr(self._rag, "retriever")  # noqa: B009 - not every provider has one
            with suppress(InputError):  # a passage, or a file that is gone
                weights = explainer.heat_map(result, self._query)
        return thumbnail_of(self._rag, result, self._side_px, weights)

    def html(self) -> str:
        """Return a self-contained fragment of HTML."""
        answer, confidence, others = self._answer_parts()
        heading = f'<p><b>{escape(answer)}</b>{confidence}<br><span style="{_GRAY}">{escape(others)}</span></p>'
        cards = "".join(map(self._card_html, self.results, self.cards())) or "<p>Nothing found.</p>"
        # Notebooks would read dollar signs as mathematics, which can contain links.
        return f'<div class="tex2jax_ignore mathjax_ignore">{heading if self.answer else ""}{cards}</div>'

    def _card_html(self, result: Result, card: Card) -> str:
        return card.html(video_html(result, card.link) if self._play else "")

    def markdown(self, images: bool = True) -> str:
        """Return CommonMark.

        Args:
            images: Whether to embed thumbnails as data URIs, which notebooks show and some sites do not.
        """
        answer, confidence, others = self._answer_parts()
        parts = [f"**{_plain_markdown(answer)}**{confidence}"] if self.answer else []
        parts += [_plain_markdown(others)] if others else []
        parts += [card.markdown() for card in self.cards(images)] or ["Nothing found."]
        return "\n\n".join(parts) + "\n"

    def _answer_parts(self) -> tuple[str, str, str]:
        """Return the answer, its confidence and the other candidates."""
        if self.answer is None:
            return "", "", ""
        answer, confidence = self.answer.answer, _confidence(self.answer.confidence)
        others = ", ".join(f"{text} {score:.2f}" for text, score in self.answer.candidates if text != answer)
        return answer, f" ({confidence})" if confidence else "", f"or: {others}" if others else ""


def _confidence(confidence: float | None) -> str:
    return "" if confidence is None else f"confidence {confidence:.2f}"


def _plain_markdown(text: str) -> str:
    """Return the text on one line, without characters that Markdown or HTML would interpret."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return _MARKDOWN.sub(r"\\\1", escape(line, quote=False))
