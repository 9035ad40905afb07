"""The address of a store: a Milvus Lite folder named *.db, or the URI of a Milvus server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from florence_rag.errors import InputError, StoreUnavailableError
from florence_rag.index.lite.profile import LITE
from florence_rag.index.store_profile import SERVER, StoreProfile
from florence_rag.index.tenants import folder_name

_SCHEMES = ("http", "https", "tcp")
LOCK = "LOCK"
"""The file in the folder of a Milvus Lite database that locks it."""
_ODD = re.compile(r"[\s\x00-\x1f\\]")


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address. uri: as the caller wrote it. path: the folder, or None for a server."""

    uri: str
    path: Path | None

    @classmethod
    def parse(cls, uri: str) -> Address:
        """Parse an address, or raise InputError if it is that of neither a database folder nor a server."""
        if uri.startswith("unix:"):
            return cls(uri, None)
        if uri.partition("://")[0].lower() in _SCHEMES:
            return cls._of_server(uri)
        path = Path(uri).expanduser()
        if path.suffix != ".db" or "://" in uri:
            raise InputError(f"{uri!r} is not a database; use a folder name that ends in .db, or http://HOST:19530")
        return cls(uri, path.resolve())

    @classmethod
    def _of_server(cls, uri: str) -> Address:
        """Refuse what pymilvus would replace by the server of this machine, or ignore."""
        try:
            parts = urlsplit(uri)
            is_valid = parts.hostname and parts.port != 0 and not (parts.query or parts.fragment or _ODD.search(uri))
            if is_valid and "/" not in parts.path.strip("/"):
                return cls(uri, None)
        except ValueError:  # of a port that is no number below 65536, or an unbalanced bracket
            pass
        raise InputError(f"{uri!r} is not the address of a server; use http://HOST:19530 or http://HOST:19530/DATABASE")

    @property
    def database(self) -> str:
        """The name of the database on a server; "" for its default one, and for a folder."""
        is_server = self.path is None and not self.uri.startswith("unix:")
        return urlsplit(self.uri).path.strip("/") if is_server else ""

    @property
    def profile(self) -> StoreProfile:
        """What the store at this address supports."""
        return SERVER if self.path is None else LITE

    @property
    def is_missing(self) -> bool:
        """Whether there is no database at the folder; False for a server, which has to be asked."""
        return self.path is not None and not is_database(self.path)

    def missing_error(self) -> StoreUnavailableError:
        """Return the error that there is no index."""
        name = self.database  # an older server says of an unknown one that it is empty
        what = f"the database {name!r} on the server if it does not exist, and then the index" if name else "it"
        return StoreUnavailableError(
            f"there is no database at {self.uri!r}; create {what} with: florence-rag index PATH --db {self.uri}"
        )

    def __str__(self) -> str:
        """Return the address for messages, without the user and password that a URI may contain."""
        if self.path is not None or "@" not in self.uri:
            return self.uri
        parts = urlsplit(self.uri)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def is_database(path: Path) -> bool:
    """Return whether the folder holds a Milvus Lite database, whose lock file may have been lost."""
    return (path / LOCK).is_file() or any((path / "collections").glob("*/*.json*"))


def classifier_folder(uri: str, collection: str) -> Path | None:
    """Return the folder for classifiers next to a Milvus Lite database, or None for a server."""
    path = Address.parse(uri).path
    return path.with_suffix(".classifiers") / folder_name(collection) if path else None


def image_folder(uri: str, collection: str) -> Path | None:
    """Return the folder for images without a file next to a Milvus Lite database, or None for a server."""
    path = Address.parse(uri).path
    return path.with_suffix(".images") / folder_name(collection) if path else None
