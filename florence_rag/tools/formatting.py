"""Hits in words for a reader that cannot see, and as flat JSON-ready metadata; both plug-ins use these."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from florence_rag.types import Citation, Hit

CONTROL_TOKEN = re.compile(r"<\|[^<>|]{1,40}\|>")
"""Marks such as <|im_start|>: in a file's words they would speak to a chat model's tokenizer, not to its reader."""


def hit_to_text(hit: Hit) -> str:
    """Kind, file name and place in the first line; below it all words that are known of the hit."""
    words = [("Caption", hit.caption), ("", hit.text), ("Words in the picture", hit.ocr)]
    lines = [clean(f"{label}: {text}" if label else text) for label, text in words if text]
    return "\n".join([place_to_text(hit), *lines])


def place_to_text(found: Hit | Citation) -> str:
    """One line such as "[clip] walk.mp4, 3.0-6.0 s". The folder stays out: it is in the metadata."""
    name, locator = " ".join(PurePath(found.source).name.split()), str(found.locator)
    return clean(f"[{found.kind}] {name}, {locator}" if locator else f"[{found.kind}] {name}")


def hit_to_metadata(hit: Hit) -> dict[str, Any]:
    """The file's own metadata, then ours: id, source, kind, locator, score, why; ours wins where names meet."""
    ours = hit.to_dict()
    own = ours.pop("metadata", {})
    del ours["text"]
    return {**own, **ours}


def box_to_text(box: Sequence[float]) -> str:
    """Where a region lies, for a reader that cannot see: "left 0.10, top 0.55, right 0.42, bottom 0.98"."""
    edges = zip(("left", "top", "right", "bottom"), box, strict=True)
    return ", ".join(f"{name} {edge:.2f}" for name, edge in edges)


def clean(text: str) -> str:
    """Without marks that chat templates give a meaning."""
    return CONTROL_TOKEN.sub(" ", text)  # not "", which could join two halves to a new mark
