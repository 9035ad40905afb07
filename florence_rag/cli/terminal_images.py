"""Shows images in terminals that understand the protocol of kitty, that of iTerm2, or sixel, if timg is installed."""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_Protocol = Callable[["Image.Image"], Iterator[str]]

_SIDE_PX = 480
_BAND_PX = 6  # the height of a row of sixels
_SIXEL_TERMS = ("foot", "mlterm", "yaft")
_KITTY_PART = 4096


def image_protocol(environment: Mapping[str, str] = os.environ) -> _Protocol | None:
    """Return what writes an image for the terminal of standard output; None if it shows no images, or is none."""
    program, term = environment.get("TERM_PROGRAM", ""), environment.get("TERM", "")
    if not sys.stdout.isatty() or "TMUX" in environment or term.startswith("screen"):
        return None
    if "KITTY_WINDOW_ID" in environment or term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return _to_kitty
    if program in ("iTerm.app", "WezTerm", "mintty"):
        return _to_iterm
    has_sixel = (
        term.startswith(_SIXEL_TERMS) or "sixel" in term or {"WT_SESSION", "KONSOLE_VERSION"} & environment.keys()
    )
    return _to_sixel if has_sixel and find_spec("timg") else None


def print_image(image: Image.Image, protocol: _Protocol) -> None:
    """Print a small version of an image."""
    image.thumbnail((_SIDE_PX, _SIDE_PX))
    print(*protocol(image), sep="", flush=True)


def _to_kitty(image: Image.Image) -> Iterator[str]:
    data = base64.b64encode(_png(image)).decode()
    for start in range(0, len(data), _KITTY_PART):
        first, more = "a=T,f=100," if start == 0 else "", int(start + _KITTY_PART < len(data))
        yield f"\x1b_G{first}q=2,m={more};{data[start : start + _KITTY_PART]}\x1b\\"


def _to_iterm(image: Image.Image) -> Iterator[str]:
    png = _png(image)
    yield f"\x1b]1337;File=inline=1;size={len(png)}:{base64.b64encode(png).decode()}\a"


def _to_sixel(image: Image.Image) -> Iterator[str]:
    from timg import SixelMethod  # type: ignore[import-untyped]

    width, height = image.size
    whole = image.convert("RGB").crop((0, 0, width, height + -height % _BAND_PX))  # timg drops rows of a part of a band
    yield SixelMethod(whole.quantize(256).convert("RGB")).to_string()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
