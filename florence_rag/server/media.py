"""What a browser may show of an indexed chunk: thumbnails, images, and the file itself if it is safe.

Files are only found by the id of a chunk. A file is sent as it is if its suffix is that of a format that browsers
show and that carries no script. Other images are encoded again, and other files can only be downloaded.
"""

import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from threading import Lock

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from florence_rag.image_store import item_file
from florence_rag.rag import FlorenceRAG
from florence_rag.sources import MEDIA_BY_SUFFIX
from florence_rag.types import Hit, middle_frame
from florence_rag.viz.thumbnails import thumbnail

INLINE_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".ogv": "video/ogg",
}
DOWNLOAD_TYPE = "application/octet-stream"
_HEADERS = {"content-security-policy": "default-src 'none'; sandbox"}


class ThumbnailCache:
    """The latest JPEGs, by what they show."""

    def __init__(self, max_bytes: int = 64_000_000) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._jpegs: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, draw: Callable[[], bytes]) -> bytes:
        """Return a JPEG, which is drawn if it is not known."""
        with self._lock:
            if key in self._jpegs:
                self._jpegs.move_to_end(key)
                return self._jpegs[key]
        jpeg = draw()
        with self._lock:
            self._bytes += len(jpeg) - len(self._jpegs.get(key, b""))
            self._jpegs[key] = jpeg
            while self._bytes > self._max_bytes:
                self._bytes -= len(self._jpegs.popitem(last=False)[1])
        return jpeg


def require_chunk(rag: FlorenceRAG, id: str) -> Hit:
    """Return the chunk with an id, or raise HTTPException."""
    hit = next(iter(rag.get([id])), None)
    if hit is None:
        raise HTTPException(404, f"no chunk has the id {id!r:.80}; searches return the ids that exist")
    return hit


def image_of(rag: FlorenceRAG, hit: Hit, side_px: int, *, with_box: bool = False) -> bytes:
    """Return the image of a chunk, or the middle frame of a clip, as a JPEG."""
    frames = rag.frames(hit)
    if not frames:
        raise HTTPException(404, "a passage of text has no image")
    return thumbnail(middle_frame(frames), hit.locator.box if with_box else None, side_px)


def jpeg_response(jpeg: bytes, hit: Hit) -> Response:
    """Return a JPEG of a chunk, which the browser may keep for an hour."""
    return Response(jpeg, media_type="image/jpeg", headers=_cache_control(hit, 3600))


def _cache_control(hit: Hit, max_age_s: int) -> dict[str, str]:
    """Return the header that lets a browser keep a chunk of a file, whose id follows from its content, but no item."""
    return {"cache-control": "private, no-cache" if hit.is_item else f"private, max-age={max_age_s}"}


def file_response(rag: FlorenceRAG, hit: Hit) -> Response:
    """Return the file of a chunk, of which the client may request ranges."""
    path = _path(rag, hit)
    suffix = path.suffix.lower()
    try:
        status = os.stat(path)
    except OSError as error:
        raise HTTPException(404, f"the file of {hit.id!r:.80} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise HTTPException(404, f"the file of {hit.id!r:.80} is not a file any more")
    inline = suffix in INLINE_TYPES
    return FileResponse(
        path,
        media_type=INLINE_TYPES.get(suffix, DOWNLOAD_TYPE),
        filename=path.name.encode("utf-8", "replace").decode(),
        stat_result=status,
        content_disposition_type="inline" if inline else "attachment",
        headers=_HEADERS | _cache_control(hit, 300),
    )


def _path(rag: FlorenceRAG, hit: Hit) -> Path:
    """Return the local file of a chunk; its suffix must be that of a medium, whoever wrote the database."""
    where = (item_file(hit) and rag.context.images.path(item_file(hit))) if hit.is_item else hit.source
    path = Path(where)
    if not where or not path.is_absolute() or path.suffix.lower() not in MEDIA_BY_SUFFIX:
        raise HTTPException(404, "this chunk has no file on the machine of the server; its image is at .../image")
    return path
