"""Formats hits as text for a model, and hits and chunks as flat metadata that is ready for JSON.

Both plug-ins use these functions.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from florence_rag.tokenize import shorten
from florence_rag.types import ITEM_IMAGE, KINDS, MEDIA_OF_KIND, Chunk, Citation, Hit, Locator, Source

MAX_CHARACTERS = 600
"""The text limit of one result, so that a page does not crowd out the other results."""
CONTROL_TOKEN = re.compile(r"<\|[^<>|]{1,40}\|>")
"""Markers such as <|im_start|>: in text from a file, they would act on a chat model's tokenizer."""


def hit_to_text(hit: Hit) -> str:
    """Return kind, file name and locator in the first line, and below it the caption, text and OCR text of the hit."""
    parts = [("Caption", hit.caption), ("", hit.text), ("OCR text", hit.ocr)]
    lines = [clean(f"{label}: {text}" if label else text) for label, text in parts if text.strip()]
    return "\n".join([place_to_text(hit), *lines])


def place_to_text(hit: Hit | Citation) -> str:
    """Return one line such as "[clip] walk.mp4, 3.0-6.0 s". The folder is only in the metadata."""
    name, locator = " ".join(PurePath(hit.source).name.split()), str(hit.locator)
    return clean(f"[{hit.kind}] {name}, {locator}" if locator else f"[{hit.kind}] {name}")


def hit_to_metadata(hit: Hit) -> dict[str, Any]:
    """Return the metadata of the file, and id, source, kind, locator, score and explanation, which take precedence."""
    fields = hit.to_dict()
    metadata = fields.pop("metadata", {})
    del fields["text"]
    return {**metadata, **fields}


def chunk_to_metadata(chunk: Chunk) -> dict[str, Any]:
    """Return the metadata of a chunk of a file, with what `metadata_to_chunk` needs to restore it."""
    return {
        **chunk.metadata,
        "source": chunk.source.uri,
        "kind": chunk.kind,
        "locator": chunk.locator.to_dict(),
        ITEM_IMAGE: {"file": chunk.source.uri, "hash": chunk.source.content_hash},
    }


def metadata_to_chunk(metadata: Mapping[str, Any], text: str, id: str | None) -> Chunk | None:
    """Return the chunk of a file that `chunk_to_metadata` described, with this text and id; None for other metadata."""
    file, kind, locator = (metadata.get(key) for key in (ITEM_IMAGE, "kind", "locator"))
    if not (isinstance(file, Mapping) and isinstance(locator, Mapping) and isinstance(kind, str) and kind in KINDS):
        return None
    try:
        source = Source(file["file"], MEDIA_OF_KIND[kind], 0, 0, file["hash"])
        return Chunk(source, kind, Locator.from_dict(locator), text, metadata=metadata, custom_id=id or "")
    except (KeyError, TypeError):  # other metadata of these names
        return None


def box_to_text(box: Sequence[float]) -> str:
    """Return a box as text, such as "left 0.10, top 0.55, right 0.42, bottom 0.98"."""
    edges = zip(("left", "top", "right", "bottom"), box, strict=True)
    return ", ".join(f"{name} {edge:.2f}" for name, edge in edges)


def clean(text: str) -> str:
    """Remove markers that have a meaning in chat templates."""
    return CONTROL_TOKEN.sub(" ", text)  # "" could join two halves to a new marker


def hits_to_text(hits: Sequence[Hit]) -> str:
    """Return a list numbered from 1, with what a model needs to cite a hit and to continue with it."""
    lines = []
    for number, hit in enumerate(hits, start=1):
        place, _, text = hit_to_text(hit).partition("\n")
        lines += [f"{number}. id {hit.id}", f"   {place}", f"   why: {hit.explanation}"]
        if text:
            lines.append(f"   {fenced(text)}")
        for other in hit.grouped_hits[:3]:
            lines.append(f"   also: id {other.id} {other.locator if other.source == hit.source else other.source}")
    return "\n".join(lines)


def fenced(text: str) -> str:
    """Truncate text from a file, and mark it as quoted material."""
    return f"<<< {shorten(text, MAX_CHARACTERS).replace('>>>', '')} >>>"


def counted(items: Collection[object], name: str) -> str:
    """Return a count with its noun, such as "1 result" or "2 results"."""
    return f"{len(items)} {name}{'s' * (len(items) != 1)}"
