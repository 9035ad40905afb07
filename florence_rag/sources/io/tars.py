"""Reads WebDataset tars: the files with one stem are a sample, an image and its sidecar files."""

import json
import posixpath
import tarfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any, BinaryIO

from florence_rag.errors import InputError, MediaError
from florence_rag.sources.io.locations import open_parts, stat_for_cache
from florence_rag.sources.io.remote_stat import FileStat
from florence_rag.sources.io.sidecar_metadata import Columns, SidecarMetadata, likely_caption, metadata_from
from florence_rag.sources.io.uris import (
    Member,
    is_ignored,
    is_url,
    media_of,
    quote_name,
    skip_reason,
    suffix_of,
    unquote_name,
)
from florence_rag.types import Skipped

CAPTION_SUFFIXES = (".txt", ".text", ".caption")
SIDECAR_SUFFIXES = (*CAPTION_SUFFIXES, ".json", ".cls")
_MAX_SIDECAR_BYTES = 1_000_000
_MAX_FILE_BYTES = 2_000_000_000
_CACHE_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class TarIndex:
    """The positions of the files of a tar."""

    files: Mapping[str, tuple[int, int]]  # name -> (start, size) in bytes, in the order of the tar
    samples: Mapping[str, list[str]]  # stem -> the names of its files
    problem: str = ""  # why the tar may hold more files; "" if it is whole


def read_index(container: str, *, refresh: bool = False) -> TarIndex:
    """Return the positions of the files of a tar; `refresh` reads a tar at a URL again."""
    with _CACHE_LOCK:
        if refresh:
            _read_index.cache_clear()
        return _read_index(container, stat_for_cache(container))


def list_members(container: str, columns: Columns) -> tuple[Iterator[Member | Skipped], str]:
    """Return the sources in a tar and what is skipped, and the reason why it holds none or may hold more, or ""."""
    index = read_index(container, refresh=is_url(container))
    names = [name for name in index.files if not (_is_hidden(name) or _is_sidecar(name, index))]
    empty = "" if any(map(media_of, names)) else f"holds nothing of a known kind among its {len(index.files)} members"
    return (_to_member(container, name) for name in names), index.problem or empty


def _to_member(container: str, name: str) -> Member | Skipped:
    member = Member("tar", container, quote_name(name))
    return member if media_of(name) else Skipped(member.uri, skip_reason(member.uri))


def stem_of(name: str) -> str:
    """Return the name that the files of a sample share: everything up to the first dot of the last part."""
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.split(".", 1)[0])


def open_member(member: Member) -> BinaryIO:
    """Return the bytes of a file of a tar, in memory."""
    return BytesIO(_read(member.container, unquote_name(member.fragment)))


def read_member_sidecar(member: Member) -> SidecarMetadata:
    """Return the caption and metadata in the other files of a sample."""
    name = unquote_name(member.fragment)
    sample = read_index(member.container).samples.get(stem_of(name), ())
    by_suffix = {suffix_of(each): each for each in sample if each != name}
    values = _read_json(member.container, by_suffix[".json"]) if ".json" in by_suffix else {}
    if ".cls" in by_suffix:
        label = _read_text(member.container, by_suffix[".cls"]).strip()
        values = {**values, "cls": int(label) if label.isdecimal() else label}
    captions = [by_suffix[suffix] for suffix in CAPTION_SUFFIXES if suffix in by_suffix]
    if captions:
        return SidecarMetadata(_read_text(member.container, captions[0]).strip(), metadata_from(values))
    return SidecarMetadata.from_values(values, likely_caption(values))


def _is_hidden(name: str) -> bool:
    return any(map(is_ignored, name.removeprefix("./").split("/")))


def _is_sidecar(name: str, index: TarIndex) -> bool:
    """Return whether a file of a tar describes an image or video of the same sample."""
    return suffix_of(name) in SIDECAR_SUFFIXES and any(
        media_of(each) not in (None, "text") for each in index.samples[stem_of(name)]
    )


@lru_cache(maxsize=16)
def _read_index(container: str, version: FileStat) -> TarIndex:
    with open_parts(container) as file:
        files, problem = _list_files(file)
    samples: dict[str, list[str]] = defaultdict(list)
    for name in files:
        samples[stem_of(name)].append(name)
    return TarIndex(files, samples, problem)


def _list_files(file: BinaryIO) -> tuple[dict[str, tuple[int, int]], str]:
    """Return the (start, size) of each file, and the problem of the rest of the tar or ""."""
    if file.read(2) in (b"\x1f\x8b", b"BZ", b"\xfd7", b"(\xb5"):
        return {}, "is compressed, so that no image in it can be found quickly; unpack it to a plain tar first"
    files: dict[str, tuple[int, int]] = {}
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                if info.isreg() and not info.issparse():
                    files[info.name] = info.offset_data, info.size
                tar.members = []  # type: ignore[attr-defined]  # else tarfile holds all of them in memory
            file.seek(tar.offset)
    except (tarfile.TarError, EOFError, ValueError):
        return files, "is truncated or damaged" if files else "is not a tar file, or damaged"
    # tarfile stops without an error at a header that it cannot read and at the end of a file that is cut off. A whole
    # tar ends with a block of zeros.
    rest = file.read(tarfile.BLOCKSIZE)
    return files, "" if rest and not rest.strip(b"\0") else "is truncated or damaged"


def _read(container: str, name: str, max_bytes: int = _MAX_FILE_BYTES) -> bytes:
    try:
        start, size = read_index(container).files[name]
    except KeyError:
        raise InputError(f"{container!r} has no member {name!r}; index it again if it has changed") from None
    if size > max_bytes:
        raise MediaError(f"{name!r} in {container!r} has {size:,} bytes; at most {max_bytes:,} are read")
    with open_parts(container) as file:
        file.seek(start)
        data = file.read(size)
    if len(data) < size:
        raise MediaError(f"{name!r} in {container!r} is cut off; replace the tar with a good copy")
    return data


def _read_text(container: str, name: str) -> str:
    return _read(container, name, _MAX_SIDECAR_BYTES).decode("utf-8", "replace").lstrip("\ufeff").replace("\0", " ")


def _read_json(container: str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(_read_text(container, name))
    except ValueError as error:
        raise MediaError(f"{name!r} in {container!r} is not JSON; correct it, as it describes its image") from error
    return value if isinstance(value, dict) else {"json": value}
