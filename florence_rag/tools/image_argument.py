"""Resolves the image argument of an agent, which may repeat what strangers wrote.

Ids of the index are always accepted, and bytes and data URIs up to a size limit. A path is accepted only inside the
folder that the developer allows, after links and ".." are resolved; a refusal reads the same whether or not the file
exists, so nothing can be probed. A URL is accepted only if the developer allows it, by the rules of `safe_fetch`.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from florence_rag.answering.base import best_index
from florence_rag.chunking import read_image
from florence_rag.errors import InputError, unknown_chunk_error
from florence_rag.rag import FlorenceRAG
from florence_rag.tools.base import Tool
from florence_rag.tools.safe_fetch import UrlRules, fetch
from florence_rag.types import Citation, Frame, Hit, Locator, is_chunk_id, middle_frame
from florence_rag.viz.jpeg import data_uri
from florence_rag.viz.thumbnails import SIDE_PX

DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,(.*)", re.DOTALL | re.IGNORECASE)
WEB = re.compile(r"https?:", re.IGNORECASE)
URL = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)
MAX_BYTES = 20_000_000
MAX_ID_BYTES = 512

ImageArgument = Annotated[
    str | bytes, "The id of an image, page or clip from a search result, or a data:image URI; see the description."
]
PROMPT_PATHS = "\nYou can also pass the path of an image in the folder that was opened for you."
PROMPT_URLS = "\nYou can also pass the http or https URL of an image."


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedImage:
    """An image argument, resolved: its frames, and a hit for their source, whose id is "" outside the index."""

    hit: Hit
    frames: tuple[Frame, ...]

    @property
    def middle(self) -> Frame:
        """The only frame, or the middle keyframe."""
        return middle_frame(self.frames)

    def best_frame(self, rag: FlorenceRAG, question: str) -> int:
        """Return the position of the frame that matches the question best; the middle one without a matcher."""
        return best_index(self.frames, question, rag.models.matcher)

    def citation(self, confidence: float | None = None) -> Citation:
        """Return a citation; it has a thumbnail if the image is not in the index."""
        hit, thumbnail = self.hit, "" if self.hit.id else data_uri(self.middle, SIDE_PX)
        return Citation(hit.id, hit.kind, hit.source, hit.locator, confidence=confidence, thumbnail=thumbnail)


@dataclass(frozen=True)
class ImageTool(Tool):
    """A tool that takes one image.

    Attributes:
        rag: The index.
        allow_paths: The folder whose files may be named by path; None allows no paths.
        allow_urls: Whether images may be fetched from the web; `UrlRules` replaces the default rules.
    """

    rag: FlorenceRAG
    allow_paths: str | Path | None = None
    allow_urls: bool | UrlRules = False

    @classmethod
    def serves(cls, rag: FlorenceRAG) -> bool:
        """Return whether the index has the models that the tool needs."""
        return True

    def _described(self, prompt: str) -> str:
        """Return the prompt; it mentions paths and URLs only if they are allowed."""
        return prompt + PROMPT_PATHS * (self.allow_paths is not None) + PROMPT_URLS * bool(self.allow_urls)

    def _resolve(self, image: str | bytes) -> ResolvedImage:
        """Return the image; raise InputError if it may not be read, or cannot."""
        return open_image(self.rag, image, self.allow_paths, self.allow_urls)


def open_image(
    rag: FlorenceRAG, image: str | bytes, root: str | Path | None = None, urls: bool | UrlRules = False
) -> ResolvedImage:
    """Resolve an image argument. `root` is the folder that is open for paths, if any."""
    if isinstance(image, str) and (found := _in_index(rag, image.strip())):
        return found
    named = check_image(image, root, urls)
    name = str(named) if isinstance(named, Path) else "the given image"
    if isinstance(named, bytes) and isinstance(image, str) and WEB.match(image.strip()):
        name = image.strip()
    return ResolvedImage(Hit("", "image", name, Locator(), 1.0), (read_image(named),))


def check_image(image: str | bytes, root: str | Path | None, urls: bool | UrlRules = False) -> bytes | Path:
    """Return the encoded image, or the path of the file, for an argument that is not an id."""
    if isinstance(image, bytes):
        return _limited(image)
    name = image.strip()
    if uri := DATA_URI.fullmatch(name):
        return _limited(_decode(uri[1]))
    if is_chunk_id(name):
        raise unknown_chunk_error(name)
    if WEB.match(name) and urls:
        return fetch(name, UrlRules() if urls is True else urls)
    if URL.match(name):
        raise InputError(f"{name!r:.80} is a URL, and URLs are not fetched; pass the id of a search result")
    return _inside(name, root)


def _in_index(rag: FlorenceRAG, name: str) -> ResolvedImage | None:
    if not name or len(name.encode("utf-8", "replace")) > MAX_ID_BYTES or DATA_URI.match(name):
        return None
    hits = rag.get([name])
    if not hits:
        return None
    if not (frames := rag.frames(hits[0])):
        raise InputError(f"{name!r} is a passage of text and has no image; pass the id of an image")
    return ResolvedImage(hits[0], frames)


def _inside(name: str, root: str | Path | None) -> Path:
    if root is None:
        raise InputError(f"{name!r:.80} is not an id; pass the id of a search result, exactly as it is listed")
    folder = Path(root).resolve()
    try:
        path = (folder / name).resolve()
        if path.is_relative_to(folder) and path.is_file():
            return path
    except (OSError, ValueError, RuntimeError):
        # A name that the file system rejects: too long, a null byte, a loop of links.
        pass
    raise InputError(f"there is no image {name!r:.80} in the opened folder; pass the id of a search result instead")


def _decode(body: str) -> bytes:
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:
        raise InputError(f"the data URI is not valid base64: {error}") from None


def _limited(pixels: bytes) -> bytes:
    if len(pixels) > MAX_BYTES:
        raise InputError(f"the image is larger than {MAX_BYTES // 1_000_000} MB; pass a smaller one")
    return pixels
