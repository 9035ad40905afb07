"""Reads JSON with limits, and converts the values of programs to those of JSON, which metadata hold.

docs/plugins.md lists the rule of the conversion.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
from collections import Counter, UserString
from collections.abc import ItemsView, Iterable, KeysView, Mapping, Sequence, ValuesView
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from florence_rag.errors import InputError
from florence_rag.text_arguments import clean, clean_json

_MAX_DEPTH = 64
_MAX_VALUES = 65_536  # the JSON of more does not fit into a row
_TOO_DEEP = f"is nested deeper than {_MAX_DEPTH} levels"
_MAX_BITS = 8_192  # of a whole number, because Python takes long to write larger ones

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")

_Path = tuple[str | int, ...]


def parse_json(text: str | bytes) -> Any:
    """Return the value of a text in JSON that may come from anyone.

    Lone surrogates become U+FFFD. NaN and Infinity, which many programs write, are floats.

    Args:
        text: The text, or its bytes in UTF-8, UTF-16 or UTF-32. It may begin with a byte order mark.

    Raises:
        InputError: If the text is not JSON, is nested deeper than 64 levels, has a whole number of thousands of digits
            or an object that names a key twice. The message has no subject, such as "is not JSON: ...".
    """
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text))
        value = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_unique_keys)
        _check_depth(value)
    except InputError:
        raise
    except RecursionError:
        raise InputError(_TOO_DEEP) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"is not JSON: {error}") from error
    except ValueError as error:  # of int
        raise InputError("has a whole number with too many digits") from error
    return clean_json(value) if _SURROGATE.search(text) else value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise InputError(f"has an object with the key {twice!r:.80} twice")
    return found


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        containers = [each for each in level if isinstance(each, list | dict)]
        level = [inner for each in containers for inner in (each.values() if isinstance(each, dict) else each)]
        if not level:
            return
    raise InputError(_TOO_DEEP)


def to_json_value(value: Any, name: str = "value") -> Any:
    """Return the value as None, a bool, an int of 64 bits, a finite float, a str, a list or a dict of these.

    Args:
        value: Any value. Missing values (NaN, NaT, NA) become None.
        name: What error messages call the value.

    Raises:
        InputError: If the value, or one inside it, has no such form.
    """
    return _Conversion(name).convert(value, ())


def to_json_key(key: Any) -> str:
    """Return the name under which a key of a mapping is stored."""
    return _key(to_json_value(key, "key"))


class _Conversion:
    """One conversion. It counts values, because a small structure can contain a part billions of times."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._values = 0

    def convert(self, value: Any, path: _Path) -> Any:
        self._values += 1
        if self._values > _MAX_VALUES:
            raise self._error((), f"has more than {_MAX_VALUES} values")
        if len(path) > _MAX_DEPTH:
            raise self._error(path[:3], f"is nested deeper than {_MAX_DEPTH} levels, or contains itself")
        if isinstance(value, str | int | float | None):
            return self._scalar(value, path)
        try:
            return self._mapping(value, path) if type(value) is dict else self._composite(value, path)
        except InputError:
            raise
        except Exception as error:  # of the value's own methods
            raise self._error(path, f"cannot be read: {type(error).__name__}: {error}") from error

    def _scalar(self, value: str | float | None, path: _Path) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return clean(str.__str__(value))  # plain, also of a subclass such as numpy's
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else None if math.isnan(value) else repr(float(value))
        if value.bit_length() > _MAX_BITS:
            raise self._error(path, f"is a whole number of {value.bit_length()} bits; allowed are {_MAX_BITS}")
        return int(value) if -(2**63) <= value < 2**63 else str(int(value))

    def _composite(self, value: Any, path: _Path) -> Any:
        for types, form in _FORMS:
            if isinstance(value, types):
                return self.convert(form(value), path)
        if hasattr(value, "model_dump") and not isinstance(value, type):  # of pydantic
            return self.convert(value.model_dump(), path)
        if (inside := _fields(value)) is not None:
            return self._mapping(inside, path)
        if isinstance(value, set | frozenset):
            return sorted(self._list(value, path), key=lambda each: (type(each).__name__, json.dumps(each)))
        if hasattr(value, "tolist"):
            return self._array(value, path)
        if isinstance(value, Sequence | KeysView | ValuesView | ItemsView):
            return self._list(value, path)
        if type(value).__name__ == "NAType":  # of pandas
            return None
        if type(value).__module__ == "pydantic.networks":  # a URL
            return str(value)
        raise self._error(
            path,
            f"is {' '.join(repr(value).split()):.80} of the type {type(value).__name__}, which has no form in JSON; "
            "store a text, a number, a list or a mapping",
        )

    def _mapping(self, value: Mapping[Any, Any], path: _Path) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        for key, each in value.items():
            name = _key(self.convert(key, path))
            if name in converted:
                raise self._error(path, f"has two keys that are stored as {name!r}; rename one")
            converted[name] = self.convert(each, (*path, name))
        return converted

    def _list(self, values: Iterable[Any], path: _Path) -> list[Any]:
        return [self.convert(each, (*path, i)) for i, each in enumerate(values)]

    def _array(self, value: Any, path: _Path) -> Any:
        """Convert an array, a scalar or a column of numpy, pandas or torch."""
        if math.prod(getattr(value, "shape", ())) > _MAX_VALUES:
            raise self._error(path, f"has more than {_MAX_VALUES} values")
        if getattr(getattr(value, "dtype", None), "kind", "") not in ("M", "m"):
            plain = value.tolist()  # numpy keeps its long floats
            return self.convert(float(plain) if type(plain) is type(value) else plain, path)
        return self._list(value, path) if value.ndim else self.convert(_moment(value), path)

    def _error(self, path: _Path, problem: str) -> InputError:
        return InputError(f"{self._name}{''.join(f'[{json.dumps(key):.80}]' for key in path)} {problem}")


def _key(converted: Any) -> str:
    return converted if isinstance(converted, str) else json.dumps(converted)


def _fields(value: Any) -> Mapping[Any, Any] | None:
    """Return the items of a mapping, or the fields of a dataclass or an attrs object; None for other values."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, type):
        return None
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if hasattr(value, "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in value.__attrs_attrs__}
    return None


def _moment(value: Any) -> Any:
    """Return a datetime64 or timedelta64 as a value of the standard library, or as text if that is less precise."""
    if value != value:  # NaT
        return None
    if value.dtype.kind == "m":
        return float(value / type(value)(1, "s"))
    whole_days = value.dtype.str.endswith(("[D]", "[W]", "[M]", "[Y]"))
    exact = value.astype("M8[D]" if whole_days else "M8[us]")
    standard = exact.tolist()
    return standard if exact == value and isinstance(standard, date) else str(value)


def _datetime(value: datetime) -> str | None:
    """Return the time in ISO 8601; one with a zone in UTC, so that texts sort as times do."""
    if value != value:  # NaT of pandas
        return None
    try:
        return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat()
    except OverflowError:  # within a day of the first or last year
        return value.isoformat()


def _decimal(value: Decimal) -> float | int | str | None:
    """Return a number that has all digits, or a text."""
    if value.is_nan():
        return None
    if value.is_infinite():
        return float(value)
    if abs(value.adjusted()) < 19 and value == value.to_integral_value() and -(2**63) <= value < 2**63:
        return int(value)
    number = float(value)
    return number if math.isfinite(number) and Decimal(repr(number)) == value else str(value)


_FORMS: tuple[tuple[type | tuple[type, ...], Any], ...] = (
    (datetime, _datetime),  # before date, whose subclass it is
    ((date, time), lambda value: value.isoformat()),
    (timedelta, timedelta.total_seconds),
    (Decimal, _decimal),
    ((UUID, complex, Fraction, UserString, IPv4Address, IPv6Address, IPv4Network, IPv6Network), str),
    (SimpleNamespace, vars),
    (os.PathLike, os.fsdecode),
    (Enum, lambda value: value.value),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(value).decode("ascii")),
)
