"""Escapes text from files in Markdown, so that it is never read as markup."""

from __future__ import annotations

import re

_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|~:@=^$])")


def as_text(text: str) -> str:
    """Return the text on one line, without characters that Markdown or HTML would interpret."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKS.sub(r"\\\1", line)


def as_link(text: str, target: str) -> str:
    """Return a link to a percent-encoded URL, or the text alone without one."""
    return f"[{as_text(text)}](<{target}>)" if target and not set(target) & set("<>\n\\") else as_text(text)


def quoted(text: str) -> str:
    """Return the text as a block quote."""
    return f"> {as_text(text)}"
