"""How things are called that lie inside others, and which words are URLs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal

Scheme = Literal["tar", "parquet", "arrow"]

SCHEME_BY_SUFFIX: dict[str, Scheme] = {".tar": "tar", ".parquet": "parquet", ".arrow": "arrow"}
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class Item:
    """Something in a container. container: absolute path or URL. inner: which it is, as the container's kind says."""

    scheme: Scheme
    container: str
    inner: str

    @property
    def uri(self) -> str:
        """The inverse of parse_item."""
        return f"{self.scheme}:{self.container}#{self.inner}"


def is_url(text: str) -> bool:
    """Whether it has the form scheme://..."""
    return _URL.match(text) is not None


def is_web(url: str) -> bool:
    """Whether it is HTTP or HTTPS, where nothing tells what lies below a URL."""
    return url.lower().startswith(("http://", "https://"))


def parse_item(uri: str) -> Item | None:
    """None of what has another form. What follows the last "#" is inner."""
    scheme, _, rest = uri.partition(":")
    container, mark, inner = rest.rpartition("#")
    if scheme not in SCHEME_BY_SUFFIX.values() or not mark or not (os.path.isabs(container) or is_url(container)):
        return None
    return Item(scheme, container, inner)  # type: ignore[arg-type]


def scheme_of(container: str) -> Scheme | None:
    """What a path or URL ends in tells whether it holds items; None if not."""
    path = container.partition("?")[0] if is_url(container) else container
    return SCHEME_BY_SUFFIX.get(os.path.splitext(path)[1].lower())


def quoted(name: str) -> str:
    """The name without "#", for a uri that stays readable."""
    return name.replace("%", "%25").replace("#", "%23")


def unquoted(name: str) -> str:
    """The inverse of quoted."""
    return name.replace("%23", "#").replace("%25", "%")
