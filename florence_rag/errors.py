"""The exceptions of florence_rag. A message is one line: the value, the allowed values, and the next step."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import islice
from typing import Self

from florence_rag.redaction import redact

_MAX_LISTED = 10


class FlorenceError(Exception):
    """Base of all errors of this package. Passwords, tokens and keys in a message are replaced by ***."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(redact(each) if isinstance(each, str) else each for each in args))


class InputError(FlorenceError, ValueError):
    """An argument is wrong."""


class MediaError(InputError):
    """A file cannot be read as the media it claims to be."""


class NoImageError(MediaError):
    """A row of a table has no image, so that there is nothing to read."""


class TimeLimitError(MediaError):
    """Reading a file takes longer than it may."""


class MemoryLimitError(MediaError):
    """Reading a file needs more memory than it may use, or ended the process that read it."""


class MissingRowsError(MediaError):
    """A table has fewer rows than it declares, so that no further one can be read."""


class BatchError(InputError):
    """Some items of a batch were not stored; all others were.

    Attributes:
        stored: The ids of the stored items, in the order of the batch.
        reasons: Why an item was not stored, by its position in the batch, from 0.
    """

    def __init__(self, stored: Sequence[str], reasons: Mapping[int, str]) -> None:
        self.stored = list(stored)
        self.reasons = dict(reasons)
        count = len(self.stored) + len(self.reasons)
        listed = [f"items[{i}]: {reason}" for i, reason in islice(self.reasons.items(), _MAX_LISTED)]
        more = [f"and {len(self.reasons) - _MAX_LISTED} more"] if len(self.reasons) > _MAX_LISTED else []
        super().__init__(f"{len(self.reasons)} of {count} items were not stored: {'; '.join([*listed, *more])}")

    def __reduce__(self) -> tuple[type[Self], tuple[list[str], dict[int, str]]]:
        return type(self), (self.stored, self.reasons)


class ModelError(FlorenceError):
    """A model is unknown, its files are missing or its weights do not fit."""


class MissingModelError(ModelError):
    """Files of a model are not on this machine, and cannot be fetched."""


class MissingExtraError(FlorenceError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package!r} is not installed; install it with: pip install 'florence-rag[{extra}]'")
        self._arguments = package, extra

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), self._arguments


class StoreError(FlorenceError):
    """The vector store failed or is in a state that forbids the call."""


class StoreUnavailableError(StoreError):
    """The server or folder cannot be reached."""


class StoreLockedError(StoreError):
    """Another process has the database open."""


class StoreMismatchError(StoreError):
    """The database was filled by another embedder or schema."""


class StoreCorruptError(StoreError):
    """Rows are missing or cannot be read."""


class DamagedDatabaseError(StoreCorruptError):
    """Files of a Milvus Lite database are damaged. It was not opened, so that nothing has changed.

    Attributes:
        damage: One line for each damaged file: its name and what is wrong with it.
    """

    def __init__(self, database: str, damage: Sequence[str], rows: int) -> None:
        self.database, self.damage, self.rows = database, tuple(damage), rows
        more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
        super().__init__(
            f"the database {database} is damaged: {damage[0]}{more}; {rows} rows can be read and nothing was changed; "
            f"repair it with: florence-rag repair --db {database}"
        )

    def __reduce__(self) -> tuple[type[Self], tuple[str, tuple[str, ...], int]]:
        return type(self), (self.database, self.damage, self.rows)


@contextmanager
def mapped_write_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise StoreError instead of OSError while a file is written, such as on a full disk."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"{os.fspath(path)} cannot be written ({reason}); make room, then try again") from error


def unknown_chunk_error(id: str) -> InputError:
    """Return the error for an id that no chunk of the index has."""
    return InputError(f"no chunk has the id {id!r:.80}; searches return the ids that exist")


def check_keywords(given: Iterable[str], options: type) -> None:
    """Check keyword arguments against the TypedDict that lists them, as Python does for a function that names them.

    Raises:
        TypeError: If a keyword is unknown.
    """
    allowed: frozenset[str] = options.__optional_keys__  # type: ignore[attr-defined]
    for name in sorted(set(given) - allowed):
        nearest = get_close_matches(name, allowed, 1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"allowed are {', '.join(sorted(allowed))}"
        raise TypeError(f"unknown keyword argument {name!r}; {hint}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error message, or the name of the error if it has no message.

    PyTorch's message about a pickle that is more than weights is replaced: it advises to run the code of the file.
    """
    if "weights_only" in str(error) or "Weights only" in str(error):
        return "its weights are damaged, or a pickle that only running its code would open"
    return next(iter(str(error).strip().splitlines()), "").strip()[:300] or type(error).__name__
