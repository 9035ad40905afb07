"""Datasets in memory: their images are written to a tar, which is indexed like any other."""

import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from florence_rag.errors import InputError, mapped_write_errors
from florence_rag.image_store import data_and_frame
from florence_rag.sources.io.sidecar_metadata import caption_from, likely_caption, metadata_from
from florence_rag.telemetry import get_logger

log = get_logger(__name__)

_JPEG = b"\xff\xd8"
_KEY = "florence_rag.dataset"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Dataset(Protocol):
    """A sequence of rows, such as a `datasets.Dataset`. Each row maps columns to values."""

    def __len__(self) -> int:
        """The number of rows."""
        ...

    def __getitem__(self, row: int, /) -> Mapping[str, Any]:
        """The row at a position."""
        ...


def dataset_to_tar(dataset: Dataset, folder: Path, image: str | None, caption: str | None, name: str | None) -> Path:
    """Write the images of a dataset with their captions and metadata to a tar, and return its path.

    A tar that was written from the same fingerprint and columns stays as it is. A row whose image cannot be read
    becomes an empty file, which fails when it is indexed. See `FlorenceRAG.add_dataset`.
    """
    fingerprint = getattr(dataset, "_fingerprint", None)
    stem = name or fingerprint
    if not isinstance(stem, str) or not _NAME.fullmatch(stem):
        raise InputError(f"the dataset needs a name of letters, digits, '.', '_' and '-', not {stem!r}: name=...")
    if not len(dataset):
        raise InputError("the dataset has no rows")
    features: Mapping[str, Any] = getattr(dataset, "features", None) or {}
    columns = _columns(list(features) or list(dataset[0]), features, image, caption)
    tar, key = folder / f"{stem}.tar", json.dumps([fingerprint, *columns])
    if fingerprint is None or _key_of(tar) != key:
        part = tar.with_suffix(".part")
        with mapped_write_errors(tar):
            folder.mkdir(parents=True, exist_ok=True)
            with tarfile.open(part, "w", format=tarfile.PAX_FORMAT, pax_headers={_KEY: key}) as out:
                for member_name, data in _members(dataset, features, *columns):
                    member = tarfile.TarInfo(member_name)
                    member.size = len(data)
                    out.addfile(member, io.BytesIO(data))
            part.replace(tar)
    return tar


def _key_of(tar: Path) -> str | None:
    """Return the key with which a tar was written; None if there is no such tar."""
    try:
        with tarfile.open(tar, "r:") as file:
            return file.pax_headers.get(_KEY)
    except (OSError, tarfile.TarError):
        return None


def _columns(
    names: Sequence[str], features: Mapping[str, Any], image: str | None, caption: str | None
) -> tuple[str, str]:
    """Return the column of the images, and that of the captions or ""."""
    for wanted in (image, caption):
        if wanted is not None and wanted not in names:
            raise InputError(f"the dataset has no column {wanted!r}; its columns are {', '.join(names)}")
    declared = [name for name in names if _is_image(features.get(name))]
    found = image or next((name for name in [*declared, "image", "img", "picture", "photo"] if name in names), None)
    if found is None:
        raise InputError(f"the dataset has no column of images; name one with image=...: {', '.join(names)}")
    return found, caption if caption is not None else likely_caption(name for name in names if name != found)


def _is_image(feature: Any) -> bool:
    return type(feature).__name__ == "Image"


def _members(dataset: Any, features: Mapping[str, Any], image: str, caption: str) -> Iterator[tuple[str, bytes]]:
    """Yield the name and bytes of each file of the tar: per row the image, its metadata and its caption."""
    feature: Any = features.get(image)
    if hasattr(dataset, "cast_column") and _is_image(feature):
        dataset = dataset.cast_column(image, type(feature)(decode=False))  # to copy the bytes of image files
    for number in range(len(dataset)):
        row: Mapping[str, Any] = {}
        try:
            row = dataset[number]
            data = _image_bytes(row.get(image))
        except Exception as error:  # the code that makes the row may raise anything
            log.warning("the image in row %d of the dataset cannot be read: %s", number, error)
            data = b""
        yield f"{number:09}.{'jpg' if data.startswith(_JPEG) else 'png'}", data
        others = {
            name: _label(value, features.get(name)) for name, value in row.items() if name not in (image, caption)
        }
        if metadata := metadata_from(others):
            yield f"{number:09}.json", json.dumps(metadata).encode()
        if text := caption_from(row.get(caption)):
            yield f"{number:09}.txt", text.encode("utf-8", "replace")


def _label(value: Any, feature: Any) -> Any:
    """Return the name of the class in a column that numbers classes, and any other value as it is."""
    names = getattr(feature, "names", None)
    return names[value] if isinstance(names, list) and isinstance(value, int) and 0 <= value < len(names) else value


def _image_bytes(value: Any) -> bytes:
    """Return the bytes of an image file, from any value that can represent an image."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str | Path):
        return Path(value).read_bytes()
    if isinstance(value, bytes):
        return value
    if isinstance(value, Image.Image | np.ndarray):
        return data_and_frame(value)[0]
    raise InputError(f"a {type(value).__name__} is not an image; give bytes, a path, a PIL image or an array")
