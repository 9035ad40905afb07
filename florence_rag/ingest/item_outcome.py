"""Which items of a batch are stored, and why others are not, so that a bad item does not cost its batch."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, TypeVar

from florence_rag.errors import BatchError, FlorenceError, InputError, MissingExtraError
from florence_rag.types import Chunk

T = TypeVar("T")

_FAULTS = (InputError, MissingExtraError)
"""Errors of one item, which say nothing about the others."""


class ItemOutcome:
    """The ids of a batch, and the reasons why some of its items are not stored.

    Attributes:
        failed: The errors of items that cannot be read or replaced, by id.
    """

    def __init__(self) -> None:
        self._ids: dict[int, str] = {}
        self._invalid: dict[int, FlorenceError] = {}
        self.failed: dict[str, FlorenceError] = {}

    def __len__(self) -> int:
        """Return how many items were valid so far."""
        return len(self._ids)

    def valid_items(self, items: Iterator[Chunk]) -> Iterator[Chunk]:
        """Yield the items, without those for which the iterator raises an error."""
        for position in count():
            try:
                item = next(items)
            except StopIteration:
                return
            except _FAULTS as error:
                self._invalid[position] = error
                continue
            self._ids[position] = item.id
            yield item

    def item_or_none(self, read: Callable[..., T], chunk: Chunk, *rest: Any) -> T | None:
        """Return what `read` returns for a chunk, or None if its item cannot be read."""
        try:
            return read(chunk, *rest)
        except _FAULTS as error:
            self.failed[chunk.id] = error
            return None

    def stored(self) -> list[str]:
        """Return the ids of the batch; if items are not stored, raise BatchError, or the error of the only item."""
        unread = {place: self.failed[id] for place, id in self._ids.items() if id in self.failed}
        errors = dict(sorted((self._invalid | unread).items()))
        stored = [id for place, id in self._ids.items() if place not in errors]
        if not errors:
            return stored
        first = next(iter(errors.values()))
        if not stored and len(errors) == 1:
            raise first
        raise BatchError(stored, {i: str(error) for i, error in errors.items()}) from first
