"""Reads the JSON records of an index, which may be damaged, and reports damage as an error of this package."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec

from florence_rag.errors import StoreCorruptError

T = TypeVar("T")

_CHECKSUM = "checksum"

FAULTS = (ValueError, TypeError, KeyError, AttributeError, RecursionError, msgspec.MsgspecError)
"""The errors that reading a damaged record raises."""


def with_checksum(body: Mapping[str, Any], state: str = "") -> str:
    """Return the JSON text of a record, with a checksum of it and of the state that is stored next to it."""
    text = json.dumps(body)  # in ASCII, because a uri may contain invalid Unicode
    return f'{text[:-1]}, "{_CHECKSUM}": "{_digest(text, state)}"}}'


def parse(text: Any, form: type[T], state: str = "") -> T:
    """Return a JSON text as a value of this type, with all types checked; it raises one of `FAULTS` if it is none.

    Unknown keys are ignored, because a later version may write more of them. Older versions wrote no checksum.
    """
    body, mark, digest = text.rpartition(f', "{_CHECKSUM}": "')
    if mark and digest != f'{_digest(f"{body}}}", state)}"}}':
        raise ValueError("its checksum does not fit")
    try:
        return msgspec.json.decode(text, type=form)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:  # a uri with a lone surrogate
        return msgspec.convert(json.loads(text), form)


def _digest(text: str, state: str) -> str:
    return blake2b((state + text).encode(), digest_size=8).hexdigest()


@contextmanager
def damage_reported(what: str, where: object) -> Iterator[None]:
    """Report an error of `FAULTS` as damage of a part of the database at an address."""
    try:
        yield
    except FAULTS as error:
        raise corrupt_error(f"{what} in {where} cannot be read ({describe(error)})", where) from error


def corrupt_error(problem: str, where: object) -> StoreCorruptError:
    """Return the error for damage of the database at an address, with what to do about it."""
    return StoreCorruptError(
        f"{problem}; `florence-rag check --db {where}` lists all damage, and `florence-rag repair` mends what it can"
    )


def describe(error: Exception) -> str:
    """Return what is wrong with a record, in at most one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
