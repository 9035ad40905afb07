"""Chooses fonts that show a text, and breaks it into lines of a width in pixels."""

import unicodedata
from bisect import bisect_right
from contextlib import suppress
from functools import cache

from PIL import ImageFont

_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "FreeSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "unifont.otf",
)
"""Fonts of operating systems for the scripts that Pillow's own font lacks; those that exist are used."""
_NO_CHARACTER = "\uffff"


class TextStyle:
    """A text with a font that shows it: characters that no font has are escaped.

    Args:
        text: Any text; line breaks and control characters become spaces.
        size: The height in pixels.
    """

    def __init__(self, text: str, size: int) -> None:
        text = " ".join("".join(each if each.isprintable() else " " for each in text).split())
        missing = {name: {each for each in set(text) if not _has(name, each)} for name in ("", *_SYSTEM_FONTS)}
        name = min(missing, key=lambda each: len(missing[each]))
        self.text = "".join(_escape(each) if each in missing[name] else each for each in text)
        self.font = _load(name, size) or load_font(size)

    def fit(self, width: int) -> str:
        """Return the text, shortened with an ellipsis if it is wider."""
        return next(iter(self.wrap(width, 1)), "")

    def wrap(self, width: int, max_lines: int) -> list[str]:
        """Return the text in lines that are at most this wide; the last one ends with an ellipsis if text is left."""
        lines: list[str] = []
        rest = self.text
        while rest and len(lines) < max_lines:
            end = max(1, self._fitting(rest, width))
            if end < len(rest) and (space := rest.rfind(" ", 0, end + 1)) > 0:
                end = space
            lines.append(rest[:end])
            rest = rest[end:].lstrip()
        if rest:
            lines[-1] = lines[-1][: self._fitting(lines[-1], width - self.font.getlength("…"))].rstrip() + "…"
        return lines

    def _fitting(self, text: str, width: float) -> int:
        """Return how many characters fit into the width; none is narrower than a pixel."""
        lengths = range(1, min(len(text), int(width)) + 1)
        return bisect_right(lengths, width, key=lambda count: self.font.getlength(text[:count]))


def _escape(character: str) -> str:
    """Return an ASCII form of a character that no font has: without its accents, or its code in Python's notation."""
    base = unicodedata.normalize("NFKD", character)[:1]
    return base if base.isascii() else character.encode("ascii", "backslashreplace").decode()


@cache
def _has(name: str, character: str) -> bool:
    """Return whether a font exists and has a character: others are drawn as the same empty box."""
    if (font := _load(name, 16)) is None:
        return False
    alone = font.font_variant(layout_engine=ImageFont.Layout.BASIC)  # shaping adds a circle to a combining mark
    return character.isspace() or bytes(alone.getmask(character)) != bytes(alone.getmask(_NO_CHARACTER))


@cache
def _load(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    """Load a font of the system; "" is Pillow's own. Return None if it is not installed."""
    if not name:
        return load_font(size)
    with suppress(OSError):
        return ImageFont.truetype(name, size)
    return None


def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font, which has Latin letters and digits."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # every wheel of Pillow has FreeType
    return font
