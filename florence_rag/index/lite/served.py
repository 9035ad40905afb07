"""The note next to a Milvus Lite database that says which server has it open, for the message to other processes."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_URL = re.compile(r"https?://[\w.:\[\]-]{1,200}", re.ASCII)
_MAX_BYTES = 1_000


def _note(database: Path) -> Path:
    return database.with_suffix(".server.json")


@contextmanager
def noted_server(database: Path, url: str) -> Iterator[None]:
    """Keep the note while a server of this process has the database open. Only the user can read it."""
    note = _note(database)
    with suppress(OSError):  # in a folder that is read-only, the message is less exact
        note.unlink(missing_ok=True)
        with open(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"url": url, "pid": os.getpid()}, file)
    try:
        yield
    finally:
        if running_server(database) == url:
            note.unlink(missing_ok=True)


def running_server(database: Path) -> str:
    """Return the address of the server that has the database open; "" if the note is missing, wrong or out of date."""
    try:
        with _note(database).open("rb") as file:
            note = json.loads(file.read(_MAX_BYTES))
        url, pid = str(note["url"]), int(note["pid"])
        with suppress(PermissionError):  # the process of another user
            os.kill(pid, 0)
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return ""
    return url if pid > 0 and _URL.fullmatch(url) else ""
