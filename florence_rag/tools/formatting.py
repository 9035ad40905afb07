"""Formats hits as text for a model, and as flat metadata that is ready for JSON; both plug-ins use these."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from florence_rag.types import Citation, Hit

CONTROL_TOKEN = re.compile(r"<\|[^<>|]{1,40}\|>")
"""Markers such as <|im_start|>: in text from a file, they would act on a chat model's tokenizer."""


def hit_to_text(hit: Hit) -> str:
    """Return kind, file name and locator in the first line, and below it the caption, text and OCR text of the hit."""
    parts = [("Caption", hit.caption), ("", hit.text), ("OCR text", hit.ocr)]
    lines = [clean(f"{label}: {text}" if label else text) for label, text in parts if text]
    return "\n".join([place_to_text(hit), *lines])


def place_to_text(found: Hit | Citation) -> str:
    """Return one line such as "[clip] walk.mp4, 3.0-6.0 s". The folder is only in the metadata."""
    name, locator = " ".join(PurePath(found.source).name.split()), str(found.locator)
    return clean(f"[{found.kind}] {name}, {locator}" if locator else f"[{found.kind}] {name}")


def hit_to_metadata(hit: Hit) -> dict[str, Any]:
    """Return the metadata of the file, and id, source, kind, locator, score and explanation, which take precedence."""
    ours = hit.to_dict()
    own = ours.pop("metadata", {})
    del ours["text"]
    return {**own, **ours}


def box_to_text(box: Sequence[float]) -> str:
    """Return a box as text, such as "left 0.10, top 0.55, right 0.42, bottom 0.98"."""
    edges = zip(("left", "top", "right", "bottom"), box, strict=True)
    return ", ".join(f"{name} {edge:.2f}" for name, edge in edges)


def clean(text: str) -> str:
    """Remove markers that have a meaning in chat templates."""
    return CONTROL_TOKEN.sub(" ", text)  # "" could join two halves to a new marker
