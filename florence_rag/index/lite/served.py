"""The note next to a Milvus Lite database, by which other processes of the user join the engine that has it open."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

_MAX_BYTES = 1_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The port of 127.0.0.1 at which an engine listens, and the token that its calls carry. port: 0 for a free one."""

    port: int = 0
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.port, int) and 0 <= self.port < 65_536 and isinstance(self.token, str) and self.token):
            raise ValueError("not an endpoint")


def publish(database: Path, endpoint: Endpoint) -> None:
    """Write the note, which only the user can read. In a folder that is read-only, nobody else can join."""
    note = _note(database)
    with suppress(OSError):
        note.unlink(missing_ok=True)
        with open(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(endpoint), file)


def published(database: Path) -> Endpoint | None:
    """Return what the note says; None if it is missing or wrong, or if others could have read or written it."""
    try:
        with _note(database).open("rb") as file:
            status = os.fstat(file.fileno())
            if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o077):
                return None
            return Endpoint(**json.loads(file.read(_MAX_BYTES)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def withdraw(database: Path) -> None:
    """Delete the note."""
    with suppress(OSError):
        _note(database).unlink(missing_ok=True)


def _note(database: Path) -> Path:
    return database.with_suffix(".server.json")
