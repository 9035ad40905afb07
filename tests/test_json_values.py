import json
import math
import uuid
from collections import Counter, UserString, deque, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from fractions import Fraction
from ipaddress import ip_address, ip_network
from pathlib import PurePosixPath
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, RootModel

from florence_rag.errors import InputError
from florence_rag.json_values import parse_json, to_json_key, to_json_value


class Color(Enum):
    RED = "red"


class Size(IntEnum):
    S = 1


class Tone(StrEnum):
    WARM = "warm"


class Access(Flag):
    READ = 1
    WRITE = 2


class Camera(BaseModel):
    make: str = "X"
    bought: date = date(2024, 5, 6)


@dataclass
class Lens:
    mm: int = 50
    camera: Camera = None


class Years(RootModel[list[date]]):
    pass


Point = namedtuple("Point", "x y")
ROME = timezone(timedelta(hours=2))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc.$\0é", max_size=3), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_what_json_represents_stays_as_it_is(value):
    assert json.dumps(to_json_value(value)) == json.dumps(value)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (datetime(2024, 5, 6, 7, 8, 9), "2024-05-06T07:08:09"),
        (datetime(2024, 5, 6, 7, tzinfo=UTC), "2024-05-06T07:00:00+00:00"),
        (datetime(2024, 5, 6, 1, tzinfo=ROME), "2024-05-05T23:00:00+00:00"),
        (datetime.min.replace(tzinfo=ROME), "0001-01-01T00:00:00+02:00"),
        (date(2024, 5, 6), "2024-05-06"),
        (time(1, 2), "01:02:00"),
        (timedelta(minutes=1, milliseconds=500), 60.5),
        (Decimal("19.99"), 19.99),
        (Decimal("3"), 3),
        (Decimal("0.12345678901234567890"), "0.12345678901234567890"),
        (Decimal("1E+1000000"), "1E+1000000"),
        (Decimal("NaN"), None),
        (Fraction(1, 3), "1/3"),
        (1j, "1j"),
        (2**63 - 1, 2**63 - 1),
        (2**70, str(2**70)),
        (float("nan"), None),
        (float("-inf"), "-inf"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("/a/b.jpg"), "/a/b.jpg"),
        (PurePosixPath("/a\udcff"), "/a\ufffd"),
        (ip_address("::1"), "::1"),
        (ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        (AnyUrl("https://example.org/a"), "https://example.org/a"),
        (UserString("abc"), "abc"),
        (b"\xff", "/w=="),
        (bytearray(b"abc"), "YWJj"),
        (memoryview(b"abc"), "YWJj"),
        ("\ud800", "\ufffd"),
        (Color.RED, "red"),
        (Size.S, 1),
        (Tone.WARM, "warm"),
        (Access.READ | Access.WRITE, 3),
        (Camera(), {"make": "X", "bought": "2024-05-06"}),
        (Lens(camera=Camera()), {"mm": 50, "camera": {"make": "X", "bought": "2024-05-06"}}),
        (Years([date(2024, 5, 6)]), ["2024-05-06"]),
        (SimpleNamespace(a=b"abc"), {"a": "YWJj"}),
        (Point(1, b"a"), [1, "YQ=="]),
        ((1, (2,)), [1, [2]]),
        ({"b", "a", 1}, [1, "a", "b"]),
        (frozenset(), []),
        (deque([1]), [1]),
        (range(3), [0, 1, 2]),
        ({"a": 1}.keys(), ["a"]),
        (Counter("aab"), {"a": 2, "b": 1}),
        (MappingProxyType({}), {}),
        ({2: "a", None: "b", True: "c", (1, 2): "d", date(2024, 5, 6): "e", Color.RED: "f"},
         {"2": "a", "null": "b", "true": "c", "[1, 2]": "d", "2024-05-06": "e", "red": "f"}),
        (np.float32(1.5), 1.5),
        (np.float64("nan"), None),
        (np.longdouble(1.5), 1.5),
        (np.array([1.5], np.longdouble), [1.5]),
        (np.int8(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array(5), 5),
        (np.datetime64("2024-05-06"), "2024-05-06"),
        (np.datetime64("2024-05"), "2024-05-01"),
        (np.datetime64("2024-05-06T07:08:09.000000000"), "2024-05-06T07:08:09"),
        (np.datetime64("2024-05-06T07:08:09.000000001"), "2024-05-06T07:08:09.000000001"),
        (np.datetime64("NaT"), None),
        (np.timedelta64(1500, "ms"), 1.5),
        (np.timedelta64("NaT"), None),
        (np.array(["2024-05-06", "NaT"], "M8[ns]"), ["2024-05-06T00:00:00", None]),
    ],
)  # fmt: skip
def test_other_values_have_one_form(value, stored):
    converted = to_json_value(value)
    assert (converted, type(converted)) == (stored, type(stored))
    assert json.loads(json.dumps(converted, allow_nan=False)) == stored
    assert to_json_value(converted) == converted


def test_values_of_pandas_and_torch():
    pandas, torch = pytest.importorskip("pandas"), pytest.importorskip("torch")
    assert to_json_value([pandas.NaT, pandas.NA, pandas.Timestamp("2024-05-06", tz=UTC), pandas.Timedelta("1s")]) == [
        None,
        None,
        "2024-05-06T00:00:00+00:00",
        1.0,
    ]
    with pytest.raises(InputError, match="of the type DataFrame"):  # not the list of its columns
        to_json_value(pandas.DataFrame({"a": [1, 2]}))
    assert to_json_value(pandas.Series([1, 2])) == to_json_value(torch.tensor([1, 2])) == [1, 2]


def test_the_fields_of_attrs_objects_are_stored():
    attrs = pytest.importorskip("attrs")
    kind = attrs.make_class("Shop", {"name": attrs.field(), "opened": attrs.field()}, slots=True)
    assert to_json_value(kind("X", date(2024, 5, 6))) == {"name": "X", "opened": "2024-05-06"}


def test_times_with_zones_sort_as_texts_as_they_do_in_time():
    times = [
        datetime(2024, 5, 6, 1, tzinfo=ROME),
        datetime(2024, 5, 5, 23, 30, tzinfo=UTC),
        datetime(2024, 5, 6, tzinfo=UTC),
    ]
    assert sorted(map(to_json_value, reversed(times))) == [to_json_value(each) for each in times]


def nested(depth):
    return [nested(depth - 1)] if depth else []


def cyclic():
    value = {"a": []}
    value["a"].append(value)
    return value


def repeated():
    value = ["x"]
    for _ in range(40):
        value = [value] * 10
    return value


class Broken:
    def tolist(self):
        raise RuntimeError("closed")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"a": [1, object()]}, r'metadata\["a"\]\[1\] is <object object at .* has no form in JSON; store a text'),
        ({"a": int}, r"""\["a"\] is <class 'int'> of the type type"""),
        ({"a": (each for each in "ab")}, "of the type generator"),
        ({"a": Broken()}, r'metadata\["a"\] cannot be read: RuntimeError: closed'),
        ({1: "a", "1": "b"}, "has two keys that are stored as '1'; rename one"),
        (nested(100), r"metadata\[0\]\[0\]\[0\] is nested deeper than 64 levels, or contains itself"),
        (cyclic(), "or contains itself"),
        (repeated(), "has more than 65536 values"),
        (range(10**12), "has more than 65536 values"),
        (np.zeros((1000, 1000)), "has more than 65536 values"),
        (2**10_000, "a whole number of 10001 bits; allowed are 8192"),
    ],
)
def test_a_value_without_a_form_is_named(value, problem):
    with pytest.raises(InputError, match=problem) as caught:
        to_json_value(value, "metadata")
    assert "\n" not in str(caught.value)


def test_keys_are_texts():
    assert [to_json_key(key) for key in ("a", 1, 1.5, False, Size.S)] == ["a", "1", "1.5", "false", "1"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('\ufeff{"a": 1}', {"a": 1}),
        ('{"a": "é"}'.encode("utf-16"), {"a": "é"}),
        (b'\xef\xbb\xbf["\\u0000"]', ["\0"]),
        ('["\\ud800", "\\ud83d\\ude00"]', ["\ufffd", "😀"]),
        ("[1e999, Infinity, -5]", [math.inf, math.inf, -5]),
        ("[" * 60 + "]" * 60, nested(59)),
    ],
)
def test_json_is_read_in_every_usual_form(text, value):
    assert parse_json(text) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 200_000 + "]" * 200_000, "is nested deeper than 64 levels"),
        ('{"a":' * 300 + "1" + "}" * 300, "is nested deeper than 64 levels"),
        ("9" * 100_000, "has a whole number with too many digits"),
        ('[{"a": 1, "b": 2, "a": 3}]', "has an object with the key 'a' twice"),
        ("{'a': 1}", "is not JSON: Expecting property name"),
        (b'{"a": "\xff"}', "is not JSON: 'utf-8' codec can't decode"),
        (b"\xff\xfe{", "is not JSON"),
        ("", "is not JSON"),
    ],
)
def test_json_that_would_do_harm_is_refused(text, problem):
    with pytest.raises(InputError, match=problem):
        parse_json(text)
