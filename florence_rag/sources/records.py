"""Turns the state of a source into its record, or into the reason why there is none."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import BinaryIO

from florence_rag.errors import FlorenceError, MediaError, MissingRowsError, NoImageError, first_line
from florence_rag.sources.io.remote_stat import FileStat
from florence_rag.types import Failure, Media, Skipped, Source

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SourceUnavailable(Failure):
    """A source that cannot be reached now; it may not have changed, so the index keeps its chunks."""


def inspect(uri: str, read_record: Callable[[], Source | Failure]) -> Source | Failure | Skipped:
    """Return the record of a source, or the reason why there is none."""
    printable = uri.encode("utf-8", "backslashreplace").decode()
    if printable != uri:
        return Failure(printable, "the name is not valid UTF-8; rename it")
    if "\0" in uri:
        return Failure(uri.replace("\0", "\\0"), "the name has a null character, as only a forged tar can; rename it")
    try:
        return read_record()
    except NoImageError:
        return Skipped(uri, "row without image")
    except (MissingRowsError, MemoryError):  # which end the reading of a container
        raise
    except MediaError as error:
        return Failure(uri, str(error))
    except FlorenceError as error:
        return SourceUnavailable(uri, str(error))
    except OSError as error:
        return Failure(uri, f"the file cannot be read: {error.strerror}")
    except Exception as error:  # a parser of containers may raise any
        return Failure(uri, f"could not be read: {type(error).__name__}: {first_line(error)}")


def make_record(
    uri: str, media: Media, stat: FileStat, known: Mapping[str, Source], content_hash: Callable[[], str]
) -> Source | Failure:
    """Return the known record of a source that has not changed, or a new record with its content hash."""
    before = known.get(uri)
    if before and stat.version and (before.size_bytes, before.modified_ns) == (stat.size_bytes, stat.version):
        return before
    digest = content_hash()
    if not digest:
        return Failure(uri, "the file is empty (0 bytes)")
    return Source(uri, media, stat.size_bytes, stat.version, digest)


def hash_content(files: Iterable[BinaryIO], sidecar: bytes = b"") -> str:
    """Return the hash of the bytes of some open files, which are closed, and of a sidecar; "" without any bytes."""
    digest, is_empty = blake2b(digest_size=16), True
    for opened in files:
        with opened as file:
            while block := file.read(_BLOCK_BYTES):
                is_empty = False
                digest.update(block)
    digest.update(sidecar)
    return "" if is_empty else digest.hexdigest()


def hash_version(uri: str, stat: FileStat) -> str:
    """Return a hash that stands for the content, so that a remote file is fetched only once, when it is indexed."""
    return blake2b(f"{uri}\0{stat.version}\0{stat.size_bytes}".encode(), digest_size=16).hexdigest()
