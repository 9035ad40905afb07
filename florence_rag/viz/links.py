"""Links to files that open at the right page or second."""

from __future__ import annotations

from pathlib import PurePath

from florence_rag.types import Locator


def link_to(source: str, locator: Locator) -> str:
    """A file: URL with "#t=start,end" of a clip or "#page=n" of a page; "" for a source that is no absolute path.

    What a source is called comes from outside: only a path makes a link, so that none can run a script.
    """
    path = PurePath(source)
    if not path.is_absolute():
        return ""
    try:
        return path.as_uri() + _fragment(locator)
    except (ValueError, UnicodeError):
        return ""


def _fragment(locator: Locator) -> str:
    if locator.start_s is not None:
        end = "" if locator.end_s is None else f",{_seconds(locator.end_s)}"
        return f"#t={_seconds(locator.start_s)}{end}"
    return "" if locator.page is None else f"#page={locator.page}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".")
