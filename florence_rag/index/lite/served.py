"""The note next to a Milvus Lite database, by which other processes of the user join the engine that has it open.

The engine listens at a socket in a folder that only the user can enter. A port would be free for everybody as soon as
its process ends: whoever took it then would receive the calls of the others, with their token.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

_MAX_BYTES = 1_000
_MAX_SOCKET_BYTES = 100
"""The longest path of a socket; systems allow 104 to 108."""
_SHORT_FOLDER = "/tmp"
"""Where sockets lie if the path of the folder for temporary files is too long."""
FREE_PORT = "127.0.0.1:0"
_HAS_SOCKETS = hasattr(os, "getuid")


def new_target() -> str:
    """Return an address to listen at: a new socket, or a free port, where nobody joins, if no socket can be made."""
    if not _HAS_SOCKETS:
        return FREE_PORT
    for parent in (tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", ""), _SHORT_FOLDER):
        folder = Path(parent, f"florence-rag-{os.getuid()}")
        socket = folder / f"{secrets.token_hex(8)}.sock"
        if folder.is_absolute() and len(os.fsencode(socket)) <= _MAX_SOCKET_BYTES:
            with suppress(OSError):
                folder.mkdir(0o700, exist_ok=True)
            if _is_private(folder):
                return f"unix:{socket}"
    return FREE_PORT


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an engine listens.

    Attributes:
        target: A socket, unix:PATH, or a port, 127.0.0.1:PORT.
        token: What its calls carry.
    """

    target: str = field(default_factory=new_target)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.target, str) and isinstance(self.token, str) and self.token):
            raise ValueError("not an endpoint")

    @property
    def uri(self) -> str:
        """The address as pymilvus takes it."""
        return self.target if self.target.startswith("unix:") else f"http://{self.target}"

    @property
    def is_trusted(self) -> bool:
        """Whether no other user can listen there. Without sockets, the port of this machine has to do."""
        scheme, _, path = self.target.partition(":")
        if not _HAS_SOCKETS:
            return scheme == "127.0.0.1"
        return scheme == "unix" and os.path.isabs(path) and _is_private(Path(path).parent)


def publish(database: Path, endpoint: Endpoint) -> None:
    """Write the note, which only the user can read. In a folder that is read-only, nobody else can join."""
    note = _note(database)
    with suppress(OSError):
        note.unlink(missing_ok=True)
        with open(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({**asdict(endpoint), "folder": folder_id(database)}, file)


def published(database: Path) -> Endpoint | None:
    """Return what the note says about a folder; None if it is missing or wrong, or if others could have seen it.

    The note of a folder that was moved away, or copied with its note, names the engine of another one.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)  # a pipe would block
    try:
        with open(os.open(_note(database), flags), "rb") as file:
            if not _is_own(os.fstat(file.fileno()), stat.S_IFREG):
                return None
            note = json.loads(file.read(_MAX_BYTES))
        is_of_folder = note.pop("folder") == folder_id(database)
        endpoint = Endpoint(**note)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    return endpoint if is_of_folder and endpoint.is_trusted else None


def withdraw(database: Path) -> None:
    """Delete the note."""
    with suppress(OSError):
        _note(database).unlink(missing_ok=True)


def folder_id(database: Path) -> list[int] | None:
    """Return what tells a folder from all others, also from its copies; None if there is none."""
    try:
        status = database.stat()
    except OSError:
        return None
    return [status.st_dev, status.st_ino]


def _is_private(folder: Path) -> bool:
    """Return whether a folder is the user's, and nobody else can enter it."""
    try:
        return _is_own(folder.lstat(), stat.S_IFDIR)
    except (OSError, ValueError):
        return False


def _is_own(status: os.stat_result, kind: int) -> bool:
    """Return whether something is of a kind, belongs to the user, and is closed to others."""
    is_own = not _HAS_SOCKETS or (status.st_uid == os.getuid() and not status.st_mode & 0o077)
    return stat.S_IFMT(status.st_mode) == kind and is_own


def _note(database: Path) -> Path:
    return database.with_suffix(".server.json")
