"""Shows hits, answers and citations in notebooks, as HTML and as Markdown.

Names and text from files are escaped: they never become markup, a link or a script. Images are small re-encoded JPEGs
inside the page, so that viewing it fetches nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePath

from florence_rag.errors import InputError
from florence_rag.jpeg import jpeg_uri
from florence_rag.types import Answer, Citation, Hit
from florence_rag.viz.links import link_to
from florence_rag.viz.markdown import as_link, as_text, quoted
from florence_rag.viz.thumbnails import SIDE_PX, FrameProvider, thumbnail_of

Found = Hit | Citation
MAX_CONTENT = 300
_CARD = "display:inline-block;vertical-align:top;max-width:{width}px;margin:0 14px 14px 0;font:13px sans-serif"
_GRAY = "color:#6e7781;overflow-wrap:anywhere"


@dataclass(frozen=True, slots=True)
class Card:
    """One hit or citation as text, with its thumbnail and a link, which may be ""."""

    number: int
    name: str
    place: str
    measure: str
    content: str
    id: str
    link: str
    jpeg: bytes | None


class Gallery:
    """Hits or citations that a notebook displays; `show(rag, hits)` returns one.

    Attributes:
        found: The hits or citations.
        answer: The answer that the citations belong to, if any.
    """

    def __init__(
        self, album: FrameProvider, found: Sequence[Found], answer: Answer | None = None, side_px: int = SIDE_PX
    ) -> None:
        self.answer = answer
        self.found = tuple(found)
        self._album = album
        self._side_px = side_px

    def __repr__(self) -> str:
        return "\n".join(f"{card.number}. {_line(card)}" for card in self.cards(images=False)) or "Nothing found."

    def _repr_html_(self) -> str:
        return self.html()

    def cards(self, images: bool = True) -> Iterator[Card]:
        """Yield a card for each hit or citation."""
        for number, found in enumerate(self.found, start=1):
            jpeg = thumbnail_of(self._album, found, self._side_px) if images else None
            yield _to_card(number, found, jpeg)

    def html(self) -> str:
        """Return a self-contained fragment of HTML."""
        cards = "".join(map(_card_to_html, self.cards())) or "<p>Nothing found.</p>"
        # Notebooks would read dollar signs as mathematics, which can contain links.
        return f'<div class="tex2jax_ignore mathjax_ignore">{_answer_to_html(self.answer)}{cards}</div>'

    def markdown(self, images: bool = True) -> str:
        """Return CommonMark.

        Args:
            images: Whether to embed thumbnails as data URIs, which notebooks show and some sites do not.
        """
        parts = [_answer_to_markdown(self.answer)] if self.answer else []
        parts += [_card_to_markdown(card) for card in self.cards(images)] or ["Nothing found."]
        return "\n\n".join(parts) + "\n"


def show(album: FrameProvider, found: Found | Answer | Sequence[Found], *, side_px: int = SIDE_PX) -> Gallery:
    """Show hits, citations, or an answer with its citations.

    Args:
        album: The FlorenceRAG that they come from.
        found: A hit, a citation, an answer, or a list of hits or citations.
        side_px: The largest width and height of a thumbnail.

    Returns:
        A gallery that a notebook displays.

    Raises:
        InputError: If found is something else.
    """
    if isinstance(found, Answer):
        return Gallery(album, found.citations, found, side_px)
    each = [found] if isinstance(found, Hit | Citation) else list(found)
    if strange := [one for one in each if not isinstance(one, Hit | Citation)]:
        raise InputError(f"a {type(strange[0]).__name__} cannot be shown; give hits, citations or an answer")
    return Gallery(album, each, None, side_px)


def _to_card(number: int, found: Found, jpeg: bytes | None) -> Card:
    if isinstance(found, Hit):
        measure, content = f"{found.score:.3f}" if found.score else "", found.content
    else:
        measure, content = "" if found.confidence is None else f"confidence {found.confidence:.2f}", found.quote
    content = " ".join(content.split())
    return Card(
        number,
        PurePath(found.source).name or found.source,
        ", ".join(part for part in (found.kind, str(found.locator)) if part),
        measure,
        content if len(content) <= MAX_CONTENT else f"{content[:MAX_CONTENT]}…",
        found.id,
        link_to(found.source, found.locator),
        jpeg,
    )


def _line(card: Card) -> str:
    return ", ".join(part for part in (card.name, card.place, card.measure) if part)


def _card_to_html(card: Card) -> str:
    image = f'<img src="{jpeg_uri(card.jpeg)}" alt="{escape(card.name)}" style="max-width:100%">' if card.jpeg else ""
    name = f"{card.number}. {escape(card.name)}"
    title = f'<a href="{escape(card.link)}" rel="noreferrer">{name}</a>' if card.link else name
    known = (card.place, card.measure, card.content, f"id {card.id}" if card.id else "")
    lines = [escape(line) for line in known if line]
    small = f'<div style="{_GRAY}">{"<br>".join(lines)}</div>'
    return f'<div style="{_CARD.format(width=3 * SIDE_PX)}">{image}<div><b>{title}</b></div>{small}</div>'


def _card_to_markdown(card: Card) -> str:
    title = as_link(card.name, card.link)
    lines = [f"**{card.number}.** {title}, {as_text(card.place)}" + (f", {card.measure}" if card.measure else "")]
    if card.jpeg:
        lines.append(f"![{as_text(card.name)}]({jpeg_uri(card.jpeg)})")
    if card.content:
        lines.append(quoted(card.content))
    return "\n\n".join(lines)


def _answer_to_html(answer: Answer | None) -> str:
    if answer is None:
        return ""
    others = escape(_others(answer))
    return f'<p><b>{escape(answer.answer)}</b>{_sure(answer)}<br><span style="{_GRAY}">{others}</span></p>'


def _answer_to_markdown(answer: Answer) -> str:
    others = as_text(_others(answer))
    return f"**{as_text(answer.answer)}**{_sure(answer)}" + (f"\n\n{others}" if others else "")


def _sure(answer: Answer) -> str:
    return "" if answer.confidence is None else f" (confidence {answer.confidence:.2f})"


def _others(answer: Answer) -> str:
    named = ", ".join(f"{text} {score:.2f}" for text, score in answer.candidates if text != answer.answer)
    return f"or: {named}" if named else ""
