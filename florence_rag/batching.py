"""Iterates over batches, as `itertools.batched` of Python 3.12 does."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Iterate over lists of at most `size` items."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
