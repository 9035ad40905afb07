"""Embeds the video of a clip in a page, so that a notebook plays it from its moment and fetches nothing."""

import base64
from html import escape
from pathlib import Path

from florence_rag.types import Citation, Hit

MAX_BYTES = 5_000_000
_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}


def video_html(result: Hit | Citation, link: str) -> str:
    """Return a player for a clip in a local file of at most `MAX_BYTES`; "" for anything else.

    Args:
        result: The hit or citation.
        link: Its link, which ends in "#t=START,END".
    """
    path = Path(result.source)
    kind = _TYPES.get(path.suffix.lower())
    if result.kind != "clip" or not kind or not path.is_absolute():
        return ""
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return ""
        data = base64.b64encode(path.read_bytes()).decode()
    except OSError:
        return ""
    moment = escape(link.rpartition("#")[2])
    return (
        f'<video controls preload="metadata" style="max-width:100%" src="data:{kind};base64,{data}#{moment}"></video>'
    )
