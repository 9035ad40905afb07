"""A picture that an agent names: guarded, for an agent passes on what strangers wrote.

Ids of the index always, bytes and data URIs up to a size. A path only inside the one folder that the developer opened,
after links and ".." are resolved; what is refused reads alike whether the file exists or not, so nothing can be
probed. URLs never. Decoding is left to the one safe loader.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path

from florence_rag.errors import InputError

CHUNK_ID = re.compile(r"[0-9a-f]{32}")
DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,(.*)", re.DOTALL | re.IGNORECASE)
URL = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)
MAX_BYTES = 20_000_000


def check_image(image: str | bytes, root: str | Path | None) -> str | bytes | Path:
    """The id, the encoded picture or the file that is meant. root: the folder opened for paths, if any."""
    if isinstance(image, bytes):
        return _limited(image)
    name = image.strip()
    if CHUNK_ID.fullmatch(name):
        return name
    if uri := DATA_URI.fullmatch(name):
        return _limited(_decode(uri[1]))
    if URL.match(name):
        raise InputError(f"{name!r:.80} looks like a URL, and URLs are not fetched; pass the id of a search result")
    return _inside(name, root)


def _inside(name: str, root: str | Path | None) -> Path:
    if root is None:
        raise InputError(f"{name!r:.80} is not an id; pass the id of a search result (32 characters 0-9 a-f)")
    folder = Path(root).resolve()
    try:
        path = (folder / name).resolve()
        if path.is_relative_to(folder) and path.is_file():
            return path
    except (OSError, ValueError, RuntimeError):
        # A name that no file system takes: too long, a null byte, a loop of links.
        pass
    raise InputError(f"there is no picture {name!r:.80} in the opened folder; pass the id of a search result instead")


def _decode(body: str) -> bytes:
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:
        raise InputError(f"the data URI is not valid base64: {error}") from None


def _limited(pixels: bytes) -> bytes:
    if len(pixels) > MAX_BYTES:
        raise InputError(f"the picture is larger than {MAX_BYTES // 1_000_000} MB; pass a smaller one")
    return pixels
