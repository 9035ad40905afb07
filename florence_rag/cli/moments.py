"""What `florence-rag moments` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.output import place, plain


def moments_to_text(moments: Iterable[Mapping[str, Any]]) -> RenderableType:
    """A numbered list, best first: from when to when, what, and the link."""
    blocks = [_moment_to_text(moment, rank) for rank, moment in enumerate(moments, start=1)]
    return Group(*blocks) if blocks else Text("No moment found; are there videos in the database?", "yellow")


def _moment_to_text(moment: Mapping[str, Any], rank: int) -> RenderableType:
    start, end = (f"{moment[name] or 0.0:.1f}" for name in ("start_s", "end_s"))
    head = Text.assemble(plain(f"{rank:>2}. [{start} s, {end} s]  ", "bold"), place(moment["source"]))
    details = [line for line in (" ".join(moment["text"].split()), moment["link"], moment["explanation"]) if line]
    return Group(head, *(plain(f"     {line:.200}", "dim") for line in details))
