"""The images of an index: images without a file are stored, image arguments are resolved, frames of hits are loaded."""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import Image

from florence_rag.chunking import ChunkingConfig, ImageInput, read_frames, read_image
from florence_rag.chunking.image_string import decode_image_string, is_inline_image
from florence_rag.chunking.images import UNNAMED_IMAGE
from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError, mapped_write_errors, unknown_chunk_error
from florence_rag.index.base import ChunkIndex
from florence_rag.sources.limited import limit_errors_named
from florence_rag.text_arguments import to_path
from florence_rag.types import ITEM_IMAGE, Chunk, Failure, Frame, Hit, Locator, is_chunk_id
from florence_rag.workers import Limits

LoadFrames = Callable[[Hit], Sequence[Frame]]
"""Reads the frames of a hit again, as `ImageStore.frames` does: () for a passage. It may raise MediaError."""

Resolve = Callable[[ImageInput], tuple[Hit, tuple[Frame, ...]]]
"""Returns the origin of an image, as a hit, and its frames; of several, the middle one stands for the image."""
S = TypeVar("S")
T = TypeVar("T")
_MAX_ID_CHARACTERS = 512
_new_digest = partial(hashlib.blake2b, digest_size=16)


def limit_image_detail(config: ChunkingConfig, embedder: Embedder, *other_readers: object) -> ChunkingConfig:
    """Decode images only as large as the embedder can use, unless another model reads them, too (None: is not used)."""
    if any(reader is not None for reader in other_readers):
        return config
    return replace(config, image_detail_px=config.image_detail_px or embedder.capabilities.detail_px)


class ImageStore:
    """Loads the images of hits, resolves image arguments, and stores images that were given without a file.

    The folder lies next to a Milvus Lite database. A Milvus server has no folder that all its clients can reach, and
    its rows are too small for images. Without a folder, images without a file are refused.
    """

    def __init__(self, index: ChunkIndex, folder: str | Path | None = None) -> None:
        self._index = index
        self.folder = None if folder is None else to_path(folder).resolve()

    def resolve(self, image: ImageInput) -> tuple[Hit, tuple[Frame, ...]]:
        """Return where the image of an argument comes from, as a hit, and its frames, at least one.

        The argument may also be the id of an image, page or clip. Outside the index the id of the hit is "".
        """
        if isinstance(image, str) and 0 < len(image) <= _MAX_ID_CHARACTERS and (hits := self._index.get([image])):
            if not (frames := self.frames(hits[0])):
                raise InputError(f"the chunk {image!r} is a passage of text; give the id of an image, page or clip")
            return hits[0], frames
        if isinstance(image, str) and is_chunk_id(image):
            raise unknown_chunk_error(image)
        return read_outside_index(image)

    def frames(self, hit: Hit, chunking: ChunkingConfig | None = None) -> tuple[Frame, ...]:
        """Load the frames of a hit again: one of an image or page, the keyframes of a clip, none of a text."""
        if not hit.is_item:
            return _read_again(hit.source, hit, chunking)
        return self.item_frames(hit, chunking) if item_file(hit) else ()

    def item_frames(
        self, item: Hit | Chunk, chunking: ChunkingConfig | None = None, limits: Limits | None = None
    ) -> tuple[Frame, ...]:
        """Load the frames of an item that has a file."""
        return _read_again(self.path(item_file(item)), item, chunking, limits)

    def store(self, data: bytes, key: str) -> str:
        """Store the bytes of an image file and return its name, which follows from the key."""
        name = _new_digest(key.encode("utf-8", "replace")).hexdigest()
        folder = self.require_folder()
        written = folder / f"{name}.part"
        with mapped_write_errors(folder / name):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                written.write_bytes(data)
                written.replace(folder / name)
            finally:
                written.unlink(missing_ok=True)
        return name

    def path(self, file: str) -> str:
        """Return the path of an image: that of a stored one by its name, any other is a path already."""
        if os.path.isabs(file):
            return file
        if not is_chunk_id(file):
            raise InputError(f"{file!r} is neither an absolute path nor the name of a stored image")
        return str(self.require_folder() / file)

    def drop(self, files: Iterable[str]) -> None:
        """Delete the stored images among these files; other files stay."""
        for file in files:
            if is_chunk_id(file):
                Path(self.path(file)).unlink(missing_ok=True)

    def require_folder(self) -> Path:
        """Return the folder of stored images, or raise InputError if there is none."""
        if self.folder is None:
            raise InputError(
                "there is no folder for images without a file, as the database is not a folder on this machine: "
                "give paths, or open it with images=FOLDER, one that all its clients can reach"
            )
        return self.folder


def _read_again(
    uri: str, item: Hit | Chunk, chunking: ChunkingConfig | None, limits: Limits | None = None
) -> tuple[Frame, ...]:
    with limit_errors_named(repr(uri)):
        return read_frames(uri, item.kind, item.locator, item.metadata, chunking or ChunkingConfig(), limits=limits)


def item_file(item: Hit | Chunk) -> str:
    """Return the path or stored name of the image of an item; "" for a text."""
    where = item.metadata.get(ITEM_IMAGE)
    return str(where["file"]) if isinstance(where, Mapping) and item.kind != "text" else ""


def image_name(image: object) -> str:
    """Return the path of an image for a message, or a phrase for an image without one."""
    has_path = isinstance(image, os.PathLike) or (isinstance(image, str) and not is_inline_image(image))
    return str(image) if has_path else UNNAMED_IMAGE


def read_outside_index(image: ImageInput) -> tuple[Hit, tuple[Frame, ...]]:
    """Read an image that is not looked up in the index; the hit names its file."""
    found = decode_image_string(image) if isinstance(image, str) else image
    return Hit("", "image", image_name(found), Locator(), 1.0), (read_image(found),)


def readable(
    items: Iterable[S],
    resolve: Callable[[S], tuple[T, tuple[Frame, ...]]],
    failed: list[Failure],
    name: Callable[[S], str],
) -> Iterator[tuple[T, tuple[Frame, ...]]]:
    """Yield every item that can be resolved, and append the others to `failed` under their name."""
    for item in items:
        try:
            yield resolve(item)
        except InputError as error:
            failed.append(Failure(name(item), str(error)))


def path_and_digest(image: str | os.PathLike[str]) -> tuple[str, str]:
    """Return the absolute path of a file and the digest of its bytes."""
    path = to_path(image)
    try:
        if not path.is_file():  # a pipe blocks whoever opens it
            raise FileNotFoundError(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, _new_digest).hexdigest()
    except (OSError, ValueError):
        read_image(image)  # raises an error that says what is wrong
        raise
    return str(path.parent.resolve() / path.name), digest


def data_and_frame(image: bytes | bytearray | memoryview | BinaryIO | Image.Image | np.ndarray) -> tuple[bytes, Frame]:
    """Return the bytes of the image file to store, and its frame; pixels become a PNG."""
    if not isinstance(image, Image.Image | np.ndarray) and hasattr(image, "read"):
        image = image.read()
    frame = read_image(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image), frame
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), frame


def digest_of(data: bytes) -> str:
    """Return the BLAKE2b digest as 32 hex digits."""
    return _new_digest(data).hexdigest()
