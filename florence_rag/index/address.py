"""Where a store is: a Milvus Lite folder named *.db, or the URI of a Milvus server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from florence_rag.errors import InputError

_SCHEMES = ("http", "https", "tcp")


@dataclass(frozen=True, slots=True)
class Address:
    """uri: as given. path: of the folder, None for a server."""

    uri: str
    path: Path | None

    @classmethod
    def parse(cls, uri: str) -> Address:
        """InputError for what is neither."""
        if uri.startswith("unix:") or uri.partition("://")[0].lower() in _SCHEMES:
            return cls(uri, None)
        path = Path(uri).expanduser()
        if path.suffix != ".db" or "://" in uri:
            raise InputError(f"{uri!r} names no database; use a file name that ends in .db, or http://HOST:19530")
        return cls(uri, path.resolve())

    def __str__(self) -> str:
        """For messages: without the user and password that a URI may carry."""
        if self.path is not None or "@" not in self.uri:
            return self.uri
        parts = urlsplit(self.uri)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def classifier_folder(uri: str, collection: str) -> Path | None:
    """Beside a Milvus Lite database, the folder of the classifiers trained on its features; None of a server."""
    path = Address.parse(uri).path
    return path.with_suffix(".classifiers") / collection if path else None


def image_folder(uri: str, collection: str) -> Path | None:
    """Beside a Milvus Lite database, the folder for pictures of an index that have no file; None of a server."""
    path = Address.parse(uri).path
    return path.with_suffix(".images") / collection if path else None
