"""Resolves the image argument of an agent, which may repeat the text of a stranger.

Ids of the index are always accepted, and bytes and data URIs up to a size limit. A path is accepted only inside the
folder that the developer allows, after links and ".." are resolved; a refusal reads the same whether or not the file
exists, so nothing can be probed. A URL is accepted only if the developer allows it, by the rules of `safe_fetch`.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from florence_rag.chunking import ChunkingConfig, read_image
from florence_rag.chunking.image_string import decode_image_string
from florence_rag.chunking.images import UNNAMED_IMAGE
from florence_rag.errors import InputError, unknown_chunk_error
from florence_rag.tools.base import ImageRef, Tool, ToolResult
from florence_rag.tools.formatting import MATERIAL
from florence_rag.tools.safe_fetch import UrlRules, fetch
from florence_rag.types import Citation, Frame, Hit, Locator, is_chunk_id, middle_frame, middle_index
from florence_rag.untrusted_text import place_to_text
from florence_rag.viz.thumbnails import SIDE_PX, data_uri

WEB = re.compile(r"https?:", re.IGNORECASE)
URL = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)
MAX_BYTES = 20_000_000
_DEFAULT = ChunkingConfig()

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

    @property
    def place(self) -> str:
        """The kind, file name and locator of the image."""
        return place_to_text(self.hit)

    def citation(self, confidence: float | None = None) -> Citation:
        """Return a citation; it has a thumbnail if the image is not in the index."""
        thumbnail = "" if self.hit.id else data_uri(self.middle, SIDE_PX)
        return Citation.of(self.hit, confidence=confidence, thumbnail=thumbnail)

    def image_ref(self, keyframe: int) -> ImageRef:
        """Return a reference to one of the frames."""
        if not self.hit.id:
            return ImageRef(1, "", data=data_uri(self.frames[keyframe]))
        return ImageRef(1, self.hit.id, keyframe if self.hit.kind == "clip" else None)

    def to_result(self, text: str, artifact: dict[str, Any]) -> ToolResult:
        """Return the result of a tool that examined the image, with a citation and the middle frame."""
        image = self.image_ref(middle_index(self.frames))
        return ToolResult(text, {**artifact, "citation": self.citation().to_dict()}, images=(image,))


@dataclass(frozen=True)
class ImageTool(Tool):
    """A tool that takes one image.

    Attributes:
        rag: The index.
        allow_paths: The folder whose files may be named by path; None allows no paths.
        allow_urls: Whether images may be fetched from the web; `UrlRules` replaces the default rules.
    """

    allow_paths: str | Path | None = None
    allow_urls: bool | UrlRules = False

    @property
    def description(self) -> str:
        """The prompt; it mentions paths and URLs only if they are allowed."""
        own = self._own_prompt() + PROMPT_PATHS * (self.allow_paths is not None) + PROMPT_URLS * bool(self.allow_urls)
        return own + MATERIAL

    def _own_prompt(self) -> str:
        """Return the prompt for the models of the index."""
        return self.prompt

    def _resolve(self, image: str | bytes, chunking: ChunkingConfig = _DEFAULT) -> ResolvedImage:
        """Return the image, in the sizes of `chunking`; raise InputError if it may not be read, or cannot."""
        name = image.strip() if isinstance(image, str) else ""
        if name and (hit := self._chunk(name)):
            if not (frames := self.rag.context.images.frames(hit, chunking)):
                raise InputError(f"{name!r} is a passage of text and has no image; pass the id of an image")
            return ResolvedImage(hit, frames)
        opened = check_image(image, self.allow_paths, self.allow_urls)
        source = str(opened) if isinstance(opened, Path) else name if WEB.match(name) else UNNAMED_IMAGE
        return ResolvedImage(Hit("", "image", source, Locator(), 1.0), (read_image(opened, chunking.image_side_px),))


def check_image(image: str | bytes, root: str | Path | None, urls: bool | UrlRules = False) -> bytes | Path:
    """Return the encoded image, or the path of the file, for an argument that is not an id; see `ImageTool`."""
    if isinstance(image, str):
        name = image.strip()
        found = name if is_chunk_id(name) else decode_image_string(name, MAX_BYTES)
        if isinstance(found, str):
            return _fetch_or_find(found, root, urls)
        image = found
    if len(image) > MAX_BYTES:
        raise InputError(f"the image is larger than {MAX_BYTES // 1_000_000} MB; pass a smaller one")
    return image


def _fetch_or_find(name: str, root: str | Path | None, urls: bool | UrlRules) -> bytes | Path:
    if is_chunk_id(name):
        raise unknown_chunk_error(name)
    if WEB.match(name) and urls:
        return fetch(name, UrlRules() if urls is True else urls)
    if URL.match(name):
        raise InputError(f"{name!r:.80} is a URL, and URLs are not fetched; pass the id of a search result")
    if root is None:
        raise InputError(f"{name!r:.80} is not an id; pass the id of a search result, exactly as it is listed")
    folder = Path(root).resolve()
    # The file system rejects some names: too long, with a null byte, a loop of links.
    with suppress(OSError, ValueError, RuntimeError):
        path = (folder / name).resolve()
        if path.is_relative_to(folder) and path.is_file():
            return path
    raise InputError(f"there is no image {name!r:.80} in the opened folder; pass the id of a search result instead")
