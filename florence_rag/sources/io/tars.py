"""WebDataset tars: members with one stem are a sample, a picture and what is said of it."""

from __future__ import annotations

import json
import posixpath
import tarfile
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any, BinaryIO

from florence_rag.errors import InputError, MediaError
from florence_rag.sources.io.containers import Version, open_container, version_to_cache
from florence_rag.sources.io.sidecar_metadata import NONE, SidecarMetadata, caption_from, likely_caption, metadata_from
from florence_rag.sources.io.uris import Item, unquoted

CAPTION_SUFFIXES = (".txt", ".text", ".caption")
FACT_SUFFIXES = (*CAPTION_SUFFIXES, ".json", ".cls")
_MAX_FACTS_BYTES = 1_000_000
_MAX_MEMBER_BYTES = 2_000_000_000
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class Contents:
    """members: name -> (start, size) in bytes, in their order. samples: stem -> names. problem: why there may be more,
    or ""."""

    members: Mapping[str, tuple[int, int]]
    samples: Mapping[str, list[str]]
    problem: str = ""


def contents(container: str, *, again: bool = False) -> Contents:
    """What is in a tar. again: also if one elsewhere was looked at already."""
    with _ONE_AT_A_TIME:
        if again:
            _contents.cache_clear()
        return _contents(container, version_to_cache(container))


def stem_of(name: str) -> str:
    """What the members of a sample have in common: all up to the first dot of the last part."""
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.split(".", 1)[0])


def suffix_of(name: str) -> str:
    """Of a member, in lower case."""
    return posixpath.splitext(name)[1].lower()


def open_item(item: Item) -> BinaryIO:
    """The bytes of a member, in memory."""
    return BytesIO(_read(item.container, unquoted(item.inner)))


def facts_of_item(item: Item) -> SidecarMetadata:
    """What the other members of its sample say."""
    name = unquoted(item.inner)
    beside = {suffix_of(each): each for each in contents(item.container).samples.get(stem_of(name), ()) if each != name}
    if not any(suffix in beside for suffix in FACT_SUFFIXES):
        return NONE
    said = _json(item.container, beside[".json"]) if ".json" in beside else {}
    if ".cls" in beside:
        said = {**said, "cls": _number(_text(item.container, beside[".cls"]).strip())}
    captions = [_text(item.container, beside[suffix]).strip() for suffix in CAPTION_SUFFIXES if suffix in beside]
    column = "" if captions else likely_caption(said)
    captions = captions or [caption_from(said.get(column))]
    return SidecarMetadata(captions[0], metadata_from({key: value for key, value in said.items() if key != column}))


@lru_cache(maxsize=16)
def _contents(container: str, version: Version) -> Contents:
    members: dict[str, tuple[int, int]] = {}
    samples: dict[str, list[str]] = defaultdict(list)
    with open_container(container) as file:
        problem = _damage(file, members)
    for name in members:
        samples[stem_of(name)].append(name)
    return Contents(members, samples, problem)


def _damage(file: BinaryIO, members: dict[str, tuple[int, int]]) -> str:
    """Fills members; what is wrong with the rest of the tar."""
    if file.read(2) in (b"\x1f\x8b", b"BZ", b"\xfd7", b"(\xb5"):
        return "is compressed, so that no picture in it can be found quickly; unpack it to a plain tar first"
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse():
                    members[member.name] = member.offset_data, member.size
                tar.members = []  # type: ignore[attr-defined]  # else it keeps them all
            file.seek(tar.offset)
    except (tarfile.TarError, EOFError, ValueError):
        return "is cut off or damaged" if members else "is no tar, or damaged"
    # At headers that it cannot read, and at the end of a file, tarfile just ends; a whole tar says that it ends.
    rest = file.read(tarfile.BLOCKSIZE)
    return "" if rest and not rest.strip(b"\0") else "is cut off or damaged"


def _read(container: str, name: str, most: int = _MAX_MEMBER_BYTES) -> bytes:
    try:
        start, size = contents(container).members[name]
    except KeyError:
        raise InputError(f"{container!r} has no member {name!r}; index it again if it has changed") from None
    if size > most:
        raise MediaError(f"{name!r} in {container!r} has {size:,} bytes; at most {most:,} are read")
    with open_container(container) as file:
        file.seek(start)
        data = file.read(size)
    if len(data) < size:
        raise MediaError(f"{name!r} in {container!r} is cut off; replace the tar with a good copy")
    return data


def _text(container: str, name: str) -> str:
    return _read(container, name, _MAX_FACTS_BYTES).decode("utf-8", "replace").lstrip("\ufeff").replace("\0", " ")


def _json(container: str, name: str) -> dict[str, Any]:
    try:
        said = json.loads(_text(container, name))
    except ValueError as error:
        raise MediaError(f"{name!r} in {container!r} is no JSON; mend it, as it says what its picture is") from error
    return said if isinstance(said, dict) else {"json": said}


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
