import json

import pytest

from florence_rag.tools import AskImage, ClassifyImage, Recommend, SearchImages
from florence_rag.tools.limits import MAX_CHARACTERS, MAX_IMAGE_CHARACTERS, MAX_ITEMS, check_arguments


def nested(levels):
    value = 1
    for _ in range(levels):
        value = {"a": value}
    return value


CYCLE = []
CYCLE += [CYCLE] * MAX_ITEMS

TOO_LARGE = {
    "query": ({"query": "a" * 5_000}, "query has 5,000 characters"),
    "huge query": ({"query": "a" * 10_000_000}, "query has 10,000,000 characters"),
    "values": ({"filter": {"x": [f"v{i}" for i in range(101)]}}, "filter has 101 values"),
    "a million values": ({"filter": {"x": list(range(1_000_000))}}, "filter has 1,000,000 values"),
    "values of several lists": ({"filter": {f"x{i}": list(range(90)) for i in range(9)}}, "filter exceeds 500 values"),
    "a tuple": ({"filter": {"x": tuple(range(101))}}, "filter has 101 values"),
    "conditions": ({"filter": {f"k{i}": 1 for i in range(51)}}, "filter has 51 keys"),
    "alternatives": ({"filter": {"$or": [{"x": i} for i in range(101)]}}, "filter has 101 values"),
    "key": ({"filter": {"k" * 300: 1}}, "filter has 300 characters in 'kkkk"),
    "huge number as a key": ({"filter": {10**5_000: 1}}, "whole numbers have at most 64 bits"),
    "text": ({"filter": {"x": "a" * 1_000_000}}, "filter has 1,000,000 characters"),
    "depth": ({"filter": nested(13)}, "filter is nested deeper than 12 levels"),
    "great depth": ({"filter": nested(100_000)}, "filter is nested deeper than 12 levels"),
    "cycle": ({"filter": {"x": CYCLE}}, "filter "),
    "infinite": ({"filter": {"start_s": float("inf")}}, "filter has the number inf"),
    "not a number": ({"filter": {"start_s": {"$gte": float("nan")}}}, "filter has the number nan"),
    "huge number": ({"filter": {"x": 10**5_000}}, "filter has a number of 16610 bits"),
    "json": ({"filter": json.dumps({"x": list(range(101))})}, "filter has 101 values"),
    "depth of json": ({"filter": json.dumps(nested(13))}, "filter is nested deeper"),
    "json that is infinite": ({"filter": '{"start_s": 1e999}'}, "filter has the number inf"),
    "json that is not a number": ({"filter": '{"start_s": NaN}'}, "filter has the number nan"),
    "huge number in json": ({"filter": '{"x": ' + "9" * 4_000 + "}"}, "whole numbers have at most 64 bits"),
    "long json": ({"filter": json.dumps({"x": "a" * 70_000})}, "filter has 70,009 characters"),
    "k": ({"k": 10**5_000}, "k has a number of 16610 bits"),
    "k as a text": ({"k": "9" * 4_000}, "got a number of 13288 bits"),
    "infinite k": ({"k": float("inf")}, "k has the number inf"),
    "kinds": ({"kinds": ["image"] * 101}, "kinds has 101 values"),
    "unknown argument": ({"x" * 1_000_000: 1}, "an argument's name has 1,000,000 characters"),
    "unknown arguments": ({f"x{i}": 1 for i in range(51)}, "the call has 52 arguments"),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("arguments", "message"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_call_with_an_argument_that_is_too_large_is_refused_at_once(rag, arguments, message):
    result = SearchImages(rag)(**{"query": "red"} | arguments)
    assert result.is_error
    assert message in result.text
    assert len(json.dumps(result.artifact)) < 1_000


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        (AskImage, {"image": "x", "question": "a" * 5_000}, "question has 5,000 characters"),
        (AskImage, {"image": "x" * 5_000, "question": "red?"}, "image has 5,000 characters"),
        (AskImage, {"image": "https://a.example/" + "x" * 5_000, "question": "red?"}, "image has 5,018 characters"),
        (AskImage, {"image": "data:image/png;base64," + "A" * MAX_IMAGE_CHARACTERS, "question": "red?"}, "30,000,022"),
        (ClassifyImage, {"image": "x", "labels": [f"a{i}" for i in range(101)]}, "labels has 101 values"),
        (ClassifyImage, {"image": "x", "labels": ["a" * 1_001, "b"]}, "labels has 1,001 characters"),
        (Recommend, {"like": [f"i{i}" for i in range(101)]}, "like has 101 values"),
        (Recommend, {"like": ["red"], "seen": ["i" * 5_000]}, "seen has 5,000 characters"),
    ],
)
def test_every_tool_has_the_limits(full_rag, tool, arguments, message):
    result = tool(full_rag)(**arguments)
    assert result.is_error and message in result.text


def test_arguments_at_the_limits_are_accepted():
    several = [f"v{i}" for i in range(MAX_ITEMS)]
    check_arguments({"query": "a" * MAX_CHARACTERS, "filter": {"x": several, "y": {"$in": several}}, "like": several})
    check_arguments({"filter": nested(12), "image": "data:image/png;base64," + "A" * 1_000_000, "seen": {1, 2.5, None}})
    check_arguments({"filter": json.dumps({"source": several * 20}), "k": 2**63, "image": b"x" * 1_000_000})
