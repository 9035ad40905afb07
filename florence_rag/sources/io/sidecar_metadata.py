"""What a container says of a picture beside its bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

CAPTIONS = ("caption", "captions", "text", "title", "description", "alt", "alt_text", "prompt", "sentence", "sentences")
"""Names under which captions are found, the likeliest first."""

_RESERVED = frozenset({"given", "look"})  # metadata under which the index keeps its own
_MAX_BYTES = 4_000
_MAX_ITEMS = 100  # longer lists are vectors, masks, histograms


@dataclass(frozen=True, slots=True)
class Columns:
    """Of a table: which holds the pictures and which says what they show; None: what looks like it."""

    image: str | None = None
    caption: str | None = None


@dataclass(frozen=True, slots=True)
class SidecarMetadata:
    """caption: one or several lines. metadata: ready for JSON."""

    caption: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest_input(self) -> bytes:
        """The same for the same facts; b"" where there are none, so that a picture is what its bytes are."""
        if not (self.caption or self.metadata):
            return b""
        return json.dumps([self.caption, self.metadata], sort_keys=True, ensure_ascii=True).encode()


NONE = SidecarMetadata()


def likely_caption(names: Iterable[str]) -> str:
    """The name that a caption most likely has; "" if none does."""
    by_name = {name.lower(): name for name in reversed(list(names))}
    return next((by_name[name] for name in CAPTIONS if name in by_name), "")


def caption_from(value: Any) -> str:
    """A text, or several as lines; "" of anything else."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list | tuple):
        return "\n".join(text.strip() for text in value if isinstance(text, str))
    return ""


def metadata_from(values: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can say in a few thousand characters; bytes, long lists such as vectors, and empty values are left out.

    Names that the index uses itself end in "_" here.
    """
    plain = {str(name): _plain(value) for name, value in values.items()}
    return {
        f"{name}_" if name in _RESERVED else name: value
        for name, value in plain.items()
        if value is not None and len(json.dumps(value)) <= _MAX_BYTES
    }


def _plain(value: Any) -> Any:
    """None of what has no place in metadata."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return _plain(float(value)) if not value.is_snan() else None
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items() if not isinstance(inner, bytes)}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value] if len(value) <= _MAX_ITEMS else None
    return None
