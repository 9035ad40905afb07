"""Links to files that open at the right page or second."""

from __future__ import annotations

from pathlib import PurePath

from florence_rag.types import Locator


def link_to(source: str, locator: Locator) -> str:
    """Return a link to a place in a file, for a browser.

    Names of sources come from outside, so only absolute paths become links: no link can run a script.

    Args:
        source: The source of a hit.
        locator: The place in it.

    Returns:
        A file: URL with "#t=start,end" for a clip or "#page=n" for a page; "" if the source is not an absolute path.
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
