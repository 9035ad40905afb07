"""Datasets that a program holds: their pictures are kept as a tar, which is indexed like any other."""

from __future__ import annotations

import io
import json
import logging
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.image_store import data_and_frame
from florence_rag.sources.io.sidecar_metadata import caption_from, likely_caption, metadata_from

log = logging.getLogger(__name__)

_JPEG = b"\xff\xd8"
_KEY = "florence_rag.dataset"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Dataset(Protocol):
    """What is needed of `datasets.Dataset`: rows by number, each a mapping from columns to values."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> Mapping[str, Any]: ...


def keep_dataset(dataset: Dataset, folder: Path, image: str | None, caption: str | None, name: str | None) -> Path:
    """A tar of its pictures and what is said of them. One that is there of the same fingerprint and columns stays.

    A row whose picture cannot be read becomes an empty member, which is told when it is indexed.
    """
    fingerprint = getattr(dataset, "_fingerprint", None)
    known_by = name or fingerprint
    if not isinstance(known_by, str) or not _NAME.fullmatch(known_by):
        raise InputError(f"the dataset needs a name of letters, digits, '.', '_' and '-', not {known_by!r}: name=...")
    if not len(dataset):
        raise InputError("the dataset has no rows")
    columns = _columns(dataset, image, caption)
    tar, key = folder / f"{known_by}.tar", json.dumps([fingerprint, *columns])
    if fingerprint is None or _key_of(tar) != key:
        folder.mkdir(parents=True, exist_ok=True)
        part = tar.with_suffix(".part")
        _write(part, _members(_undecoded(dataset, columns[0]), *columns), key)
        part.replace(tar)
    return tar


def _write(tar: Path, members: Iterable[tuple[str, bytes]], key: str) -> None:
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT, pax_headers={_KEY: key}) as out:
        for name, data in members:
            facts = tarfile.TarInfo(name)
            facts.size = len(data)
            out.addfile(facts, io.BytesIO(data))


def _key_of(tar: Path) -> str | None:
    """What it was written from; None if it is not there."""
    try:
        with tarfile.open(tar, "r:") as found:
            return found.pax_headers.get(_KEY)
    except (OSError, tarfile.TarError):
        return None


def _columns(dataset: Dataset, image: str | None, caption: str | None) -> tuple[str, str]:
    """Of the pictures, and of the captions or ""."""
    features = getattr(dataset, "features", None)
    names = list(features) if features else list(dataset[0])
    for wanted in (image, caption):
        if wanted is not None and wanted not in names:
            raise InputError(f"the dataset has no column {wanted!r}; its columns are {', '.join(names)}")
    declared = [name for name in names if type((features or {}).get(name)).__name__ == "Image"]
    found = image or next((name for name in [*declared, "image", "img", "picture", "photo"] if name in names), None)
    if found is None:
        raise InputError(f"the dataset has no column of pictures; name one with image=...: {', '.join(names)}")
    return found, caption if caption is not None else likely_caption(name for name in names if name != found)


def _undecoded(dataset: Any, image: str) -> Dataset:
    """Pictures as they are in their files, where the dataset can give them so."""
    feature: Any = (getattr(dataset, "features", None) or {}).get(image)
    if hasattr(dataset, "cast_column") and type(feature).__name__ == "Image":
        dataset = dataset.cast_column(image, type(feature)(decode=False))
    return dataset  # type: ignore[no-any-return]


def _members(dataset: Dataset, image: str, caption: str) -> Iterator[tuple[str, bytes]]:
    classes = _class_names(dataset)
    for number in range(len(dataset)):
        row: Mapping[str, Any] = {}
        try:
            row = dataset[number]
            data = _picture(row.get(image))
        except Exception as error:  # of whatever makes the row
            log.warning("row %d of the dataset has no picture that can be read: %s", number, error)
            data = b""
        suffix = "jpg" if data.startswith(_JPEG) else "png"
        yield f"{number:09}.{suffix}", data
        said = {name: value for name, value in row.items() if name not in (image, caption)}
        if facts := metadata_from({name: _named(value, classes.get(name)) for name, value in said.items()}):
            yield f"{number:09}.json", json.dumps(facts).encode()
        if words := caption_from(row.get(caption)):
            yield f"{number:09}.txt", words.encode("utf-8", "replace")


def _class_names(dataset: Any) -> dict[str, list[str]]:
    """The names of numbered classes, by column."""
    features: Mapping[str, Any] = getattr(dataset, "features", None) or {}
    named = {name: getattr(feature, "names", None) for name, feature in features.items()}
    return {name: names for name, names in named.items() if isinstance(names, list)}


def _named(value: Any, names: list[str] | None) -> Any:
    return names[value] if names and isinstance(value, int) and 0 <= value < len(names) else value


def _picture(value: Any) -> bytes:
    """The bytes of a file, of whatever stands for a picture."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str | Path):
        return Path(value).read_bytes()
    if isinstance(value, bytes):
        return value
    if isinstance(value, Image.Image | np.ndarray):
        return data_and_frame(value)[0]
    raise InputError(f"a {type(value).__name__} is no picture")
