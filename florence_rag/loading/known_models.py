"""Remembers which folders and files of models were named on this machine.

A database may come from somebody else, so the folder that it records is read only if you have named it before, as a
repository is read only if it was downloaded before.
"""

from contextlib import suppress
from pathlib import Path

from florence_rag.models.registry import ModelCard, state_file


def _record() -> Path:
    return state_file("models.txt")


def is_known(name: str) -> bool:
    """Return whether the model of a folder or file was loaded by this name before."""
    try:
        return name in _record().read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return False


def remember(card: ModelCard) -> None:
    """Record a model that was loaded from a folder or file; without a writable home it has to be named each time."""
    if Path(card.source).exists() and len(card.name.splitlines()) == 1 and not is_known(card.name):
        with suppress(OSError, UnicodeEncodeError):
            _record().parent.mkdir(parents=True, exist_ok=True)
            with _record().open("a", encoding="utf-8") as file:
                file.write(f"{card.name}\n")
