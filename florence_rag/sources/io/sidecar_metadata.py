"""The caption and metadata that a container holds next to an image."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from florence_rag.errors import InputError
from florence_rag.json_values import to_json_value
from florence_rag.types import RESERVED_METADATA

CAPTION_NAMES = tuple("caption captions text title description alt alt_text prompt sentence sentences".split())
"""Names of columns that hold captions, the likeliest first."""

_MAX_JSON_CHARS = 4_000
_MAX_LIST_LENGTH = 100  # longer lists are vectors, masks, histograms


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table that holds images.

    Args:
        image: The column of the images; None chooses the likeliest.
        caption: The column of the captions; None chooses the likeliest, if there is one.
    """

    image: str | None = None
    caption: str | None = None


@dataclass(frozen=True, slots=True)
class SidecarMetadata:
    """The caption of one image, in one or several lines, and its metadata, which JSON can represent."""

    caption: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], caption: str) -> SidecarMetadata:
        """Return the value of one name as caption, and the others as metadata."""
        others = {name: value for name, value in values.items() if name != caption}
        return cls(caption_from(values.get(caption)), metadata_from(others))

    @property
    def digest_input(self) -> bytes:
        """The bytes to hash with the image; b"" if there is neither caption nor metadata."""
        if not (self.caption or self.metadata):
            return b""
        return json.dumps([self.caption, self.metadata], sort_keys=True, ensure_ascii=True).encode()


def likely_caption(names: Iterable[str]) -> str:
    """Return the column that most likely holds captions; "" if none does."""
    by_name = {name.lower(): name for name in reversed(list(names))}
    return next((by_name[name] for name in CAPTION_NAMES if name in by_name), "")


def caption_from(value: Any) -> str:
    """Return a text, or several texts as lines; "" for any other value."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list | tuple):
        return "\n".join(text.strip() for text in value if isinstance(text, str))
    return ""


def metadata_from(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as metadata hold them, in a few thousand characters each.

    Bytes, long lists such as vectors, missing values and what has no form in JSON are dropped. Reserved names get a
    trailing "_".
    """
    plain = {str(name): _to_json_value(value) for name, value in values.items()}
    return {
        f"{name}_" if name in RESERVED_METADATA else name: value
        for name, value in plain.items()
        if value is not None and len(json.dumps(value)) <= _MAX_JSON_CHARS
    }


def _to_json_value(value: Any) -> Any:
    try:
        return to_json_value(_without_data(value))
    except InputError:
        return None


def _without_data(value: Any) -> Any:
    """Return the value without bytes and long lists."""
    if isinstance(value, Mapping):
        return {name: _without_data(inner) for name, inner in value.items() if not isinstance(inner, bytes)}
    if isinstance(value, list | tuple):
        return [_without_data(inner) for inner in value] if len(value) <= _MAX_LIST_LENGTH else None
    return None if isinstance(value, bytes) else value
