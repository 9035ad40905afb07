"""Reads WebDataset tars: the files with one stem are a sample, an image and its sidecar files."""

import codecs
import posixpath
import re
import tarfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from itertools import chain
from typing import Any, BinaryIO

from florence_rag.errors import FlorenceError, InputError, MediaError
from florence_rag.json_values import parse_json
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
_MAX_HEADER_BYTES = 65_536  # of a long name
_DIGITS = re.compile(rb"\d{1000}")
_MAX_MEMBERS = 1_000_000
_CACHE_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class TarIndex:
    """The positions of the files of a tar."""

    files: Mapping[str, tuple[int, int]]  # name -> (start, size) in bytes, in the order of the tar
    samples: Mapping[str, list[str]]  # stem -> the names of its files
    skipped: Sequence[tuple[str, str]] = ()  # the names of members that hold no bytes of a file, and the reasons
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
    skipped = (Skipped(Member("tar", container, quote_name(name)).uri, reason) for name, reason in index.skipped)
    return chain((_to_member(container, name) for name in names), skipped), index.problem or empty


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
        values = {**values, "cls": int(label) if label.isdecimal() and len(label) < 19 else label}
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
    files: dict[str, tuple[int, int]] = {}
    skipped: list[tuple[str, str]] = []
    with open_parts(container) as file:
        problem = _list_files(file, files, skipped)
    samples: dict[str, list[str]] = defaultdict(list)
    for name in files:
        samples[stem_of(name)].append(name)
    return TarIndex(files, samples, skipped, problem)


def _list_files(file: BinaryIO, files: dict[str, tuple[int, int]], skipped: list[tuple[str, str]]) -> str:
    """Collect the (start, size) of each file and the members that are none; return the problem of the rest or ""."""
    if file.read(2) in (b"\x1f\x8b", b"BZ", b"\xfd7", b"(\xb5"):
        return "is compressed, so that no image in it can be found quickly; unpack it to a plain tar first"
    try:
        for info in _members(file):
            if len(files) + len(skipped) == _MAX_MEMBERS:
                return f"has more than {_MAX_MEMBERS:,} members; split it into several tars"
            if reason := _refusal(info, files):
                skipped.append((info.name, reason))
            if info.isreg() and not info.issparse():
                files[info.name] = info.offset_data, info.size
    except FlorenceError:  # of a remote file
        raise
    except Exception:  # the headers of a damaged tar make tarfile raise any
        return "is truncated or damaged" if files else "is not a tar file, or damaged"
    # tarfile stops without an error at a header that it cannot read and at the end of a file that is cut off. A whole
    # tar ends with a block of zeros.
    rest = file.read(tarfile.BLOCKSIZE)
    return "" if rest and not rest.strip(b"\0") else "is truncated or damaged"


def _members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Yield the members, and leave the file at the end of the last one."""
    reader, end = _HeaderReader(file), -1
    with tarfile.open(fileobj=reader, mode="r:") as tar:  # type: ignore[call-overload]  # tarfile needs no more methods
        for info in tar:
            if info.size < 0 or tar.offset <= end:  # tarfile would read the same header forever
                raise tarfile.ReadError("a member has a negative size")
            end = tar.offset
            yield info
            tar.members = []  # else tarfile holds all of them in memory
        file.seek(tar.offset)


class _HeaderReader:
    """Gives tarfile the headers of a file; one that claims to be very long would fill the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read
        self.seek(0)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header has {size} bytes")
        data = self._read(size)
        if _DIGITS.search(data):
            raise tarfile.ReadError("a header has a number of 1000 digits, for which tarfile takes quadratic time")
        return data


def _refusal(info: tarfile.TarInfo, files: Mapping[str, tuple[int, int]]) -> str:
    """Return why a member, or an earlier one of its name, is not read; "" for a file or a folder."""
    if info.isdir():
        return ""
    if info.issym() or info.islnk():
        return "link in a tar"
    if not info.isreg() or info.issparse():
        return "sparse or special file in a tar"
    return "file that a later one in the tar replaces" if info.name in files else ""


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
    data = _read(container, name, _MAX_SIDECAR_BYTES)
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    return data.decode(encoding, "replace").replace("\0", " ")


def _read_json(container: str, name: str) -> dict[str, Any]:
    try:
        value = parse_json(_read(container, name, _MAX_SIDECAR_BYTES))
    except MediaError:
        raise
    except InputError as error:
        raise MediaError(f"{name!r} in {container!r} {error}; correct it, as it describes its image") from error
    return value if isinstance(value, dict) else {"json": value}
