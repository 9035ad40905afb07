"""Shows images in terminals that understand the protocol of kitty or that of iTerm2."""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_SIDE_PX = 480
_KITTY_PART = 4096


def image_protocol(environment: Mapping[str, str] = os.environ) -> Callable[[bytes], Iterator[str]] | None:
    """Return what writes a PNG for the terminal of standard output; None if it shows no images, or is none."""
    program, term = environment.get("TERM_PROGRAM", ""), environment.get("TERM", "")
    if not sys.stdout.isatty() or "TMUX" in environment or term.startswith("screen"):
        return None
    if "KITTY_WINDOW_ID" in environment or term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return _to_kitty
    return _to_iterm if program in ("iTerm.app", "WezTerm", "mintty") else None


def print_image(image: Image.Image, protocol: Callable[[bytes], Iterator[str]]) -> None:
    """Print a small version of an image."""
    image.thumbnail((_SIDE_PX, _SIDE_PX))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    print(*protocol(buffer.getvalue()), sep="", flush=True)


def _to_kitty(png: bytes) -> Iterator[str]:
    data = base64.b64encode(png).decode()
    for start in range(0, len(data), _KITTY_PART):
        first, more = "a=T,f=100," if start == 0 else "", int(start + _KITTY_PART < len(data))
        yield f"\x1b_G{first}q=2,m={more};{data[start : start + _KITTY_PART]}\x1b\\"


def _to_iterm(png: bytes) -> Iterator[str]:
    yield f"\x1b]1337;File=inline=1;size={len(png)}:{base64.b64encode(png).decode()}\a"
