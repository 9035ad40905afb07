"""Words of strangers in Markdown: shown as they are, never read as markup."""

from __future__ import annotations

import re

_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|~:@=^$])")


def as_text(words: str) -> str:
    """On one line, with nothing left that Markdown or HTML would read."""
    line = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKS.sub(r"\\\1", line)


def as_link(words: str, target: str) -> str:
    """A link; the words alone where there is no target. target: a URL whose marks are percent-encoded."""
    return f"[{as_text(words)}](<{target}>)" if target and not set(target) & set("<>\n\\") else as_text(words)


def quoted(words: str) -> str:
    """As a quotation."""
    return f"> {as_text(words)}"
