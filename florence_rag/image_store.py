"""Where the pictures are that a program gives: files stay where they are, pixels are kept beside the database."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import Image

from florence_rag.chunking import ChunkingConfig, read_image
from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError
from florence_rag.types import Failure, Frame, Hit, Locator, is_chunk_id

ImageInput = str | Path | bytes | BinaryIO | Image.Image | np.ndarray
"""A picture: a path, the bytes of a file, an open file, or pixels."""

S = TypeVar("S")
T = TypeVar("T")
_new_digest = partial(hashlib.blake2b, digest_size=16)


def as_detailed_as_needed(chunking: ChunkingConfig, embedder: Embedder, *others: object) -> ChunkingConfig:
    """Where the embedder alone looks at the pictures, it says how much of them it can see. others: that look besides,
    None for one that there is not."""
    if any(other is not None for other in others):
        return chunking
    return replace(chunking, image_detail_px=chunking.image_detail_px or embedder.capabilities.detail_px)


class ImageStore:
    """Keeps pictures that have no file, so that a hit can be looked at later; with None for a folder it keeps none.

    The folder lies beside a Milvus Lite database. A server has no folder that all who search it can reach, and its
    rows are too small for pictures.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder).expanduser().resolve()

    def keep(self, data: bytes, key: str) -> str:
        """The name under which the picture is kept from now on, which follows from the key."""
        name = _new_digest(key.encode("utf-8", "replace")).hexdigest()
        folder = self.needed()
        folder.mkdir(parents=True, exist_ok=True)
        written = folder / f"{name}.part"
        written.write_bytes(data)
        written.replace(folder / name)
        return name

    def path(self, file: str) -> str:
        """Where a picture lies: a kept one by its name, any other by its path."""
        if os.path.isabs(file):
            return file
        if not is_chunk_id(file):
            raise InputError(f"{file!r} is neither an absolute path nor the name of a kept picture")
        return str(self.needed() / file)

    def drop(self, files: Iterable[str]) -> None:
        """Delete those that are kept; files of others stay."""
        for file in files:
            if is_chunk_id(file):
                Path(self.path(file)).unlink(missing_ok=True)

    def needed(self) -> Path:
        """The folder; InputError where there is none."""
        if self.folder is None:
            raise InputError(
                "there is no folder for pictures without a file, as the database is not a file on this machine: "
                "give paths, or open it with pictures=FOLDER, one that all who search it can reach"
            )
        return self.folder


def picture_name(image: object) -> str:
    """For people: the path, of what has one."""
    return str(image) if isinstance(image, str | Path) else "the given picture"


def look_at(image: ImageInput) -> tuple[Hit, tuple[Frame, ...]]:
    """A picture of no index: as a hit where it is from, and its frame. MediaError where it cannot be read."""
    return Hit("", "image", picture_name(image), Locator(), 1.0), (read_image(image),)


def readable(
    items: Iterable[S],
    look: Callable[[S], tuple[T, tuple[Frame, ...]]],
    failed: list[Failure],
    name: Callable[[S], str],
) -> Iterator[tuple[T, tuple[Frame, ...]]]:
    """What look makes of each; those that it cannot are put down as failed, under their name."""
    for item in items:
        try:
            yield look(item)
        except InputError as error:
            failed.append(Failure(name(item), str(error)))


def path_and_digest(image: str | Path) -> tuple[str, str]:
    """The absolute path of a file, and the digest of its bytes."""
    path = Path(image).expanduser()
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, _new_digest).hexdigest()
    except (OSError, ValueError):
        read_image(image)  # says what is wrong with it
        raise
    return str(path.parent.resolve() / path.name), digest


def data_and_frame(image: bytes | BinaryIO | Image.Image | np.ndarray) -> tuple[bytes, Frame]:
    """The bytes to keep, and the picture. Pixels are kept as they are looked at."""
    if not isinstance(image, bytes | Image.Image | np.ndarray) and hasattr(image, "read"):
        image = image.read()
    frame = read_image(image)
    if isinstance(image, bytes):
        return image, frame
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), frame


def digest_of(data: bytes) -> str:
    """32 hex digits."""
    return _new_digest(data).hexdigest()
