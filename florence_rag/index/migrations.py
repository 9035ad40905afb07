"""Brings the settings of an index that an older version wrote to the present version of the schema, step by step.

The settings are replaced in one write, so that a kill leaves the old ones or the new ones.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from florence_rag.errors import StoreMismatchError
from florence_rag.index.schema import VERSION

Record = dict[str, Any]

MIGRATIONS: Mapping[int, Callable[[Record], Record]] = {
    2: lambda record: record | {"checksums": False},  # version 3 added a checksum to each row that it writes
}
"""By version, the function that turns its settings into those of the next one."""

OLDEST = min(MIGRATIONS)


def installed_version() -> str:
    """Return the version of this package, which everything records that another version may read."""
    return version("florence-rag")


def migrated(record: Record, where: str) -> Record:
    """Return the settings in the form of the present version; "version" stays the one that wrote them.

    Raises StoreMismatchError for a version that this package does not know.
    """
    check_version(record["version"], record.get("written_by", ""), where)
    for each in range(record["version"], VERSION):
        record = MIGRATIONS[each](record)
    return record


def check_version(found: object, written_by: object, where: str) -> None:
    """Raise StoreMismatchError if this version of the package cannot read what another version wrote."""
    if type(found) is not int:
        raise TypeError(f"its version is {found!r:.40}, which is not a whole number")
    if OLDEST <= found <= VERSION:
        return
    reads = f"this florence_rag {installed_version()} reads versions {OLDEST} to {VERSION}"
    if found < OLDEST:
        raise StoreMismatchError(f"{where} has schema version {found}, but {reads}; index the files into a new one")
    writer = f"florence_rag {written_by}" if written_by else "a newer florence_rag"
    install = f"pip install 'florence-rag>={written_by}'" if written_by else "install the newest florence-rag"
    raise StoreMismatchError(
        f"{where} was written by {writer} with schema version {found}, but {reads}; "
        f"open it with that version: {install}"
    )
