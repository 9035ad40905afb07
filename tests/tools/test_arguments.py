from typing import Annotated

import pytest
from pydantic import ValidationError

from florence_rag.errors import InputError
from florence_rag.tools.arguments import (
    arguments_model,
    check_filter,
    check_k,
    check_kinds,
    json_schema,
    parse_arguments,
    unchecked_model,
)
from florence_rag.types import Kind


def repeat(
    word: Annotated[str | bytes, "The word."],
    times: Annotated[int, "How often."] = 2,
    kinds: Annotated[list[Kind] | None, "Of what."] = None,
) -> str:
    return " ".join([str(word)] * times)


REPEAT = arguments_model("repeat", repeat)


def test_the_schema_holds_types_of_json():
    assert json_schema(REPEAT) == {
        "type": "object",
        "properties": {
            "word": {"type": "string", "description": "The word."},
            "times": {"type": "integer", "description": "How often. 2 by default."},
            "kinds": {
                "type": "array",
                "items": {"type": "string", "enum": ["image", "page", "clip", "text"]},
                "description": "Of what.",
            },
        },
        "required": ["word"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"word": "a", "times": "3"}, {"times": 3}),
        ({"word": "a", "times": 3.0}, {"times": 3}),
        ({"word": "a", "times": None}, {}),
        ({"word": "a", "kinds": "image"}, {"kinds": ["image"]}),
        ({"word": "a", "kinds": ("image", "clip")}, {"kinds": ["image", "clip"]}),
        ({"word": b"a"}, {"word": b"a"}),
        ({"word": "a", "times": 0, "kinds": []}, {}),
        ({"word": "a", "times": "", "kinds": ""}, {}),
        ({"word": "a", "times": "null", "kinds": "None"}, {}),
        ({"word": "a", "kinds": ["", " "]}, {}),
        ({"word": "a", "kinds": ["image", ""]}, {"kinds": ["image"]}),
        ({"word": "", "times": 1}, {"times": 1}),
        ({"word": "none"}, {}),
    ],
)
def test_arguments_with_a_plain_meaning_are_converted(arguments, expected):
    assert parse_arguments(REPEAT, (), arguments) == {"word": arguments["word"]} | expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "missing a required argument: 'word'"),
        ({"word": None}, "missing a required argument: 'word'"),
        ({"word": "a", "color": "red"}, "unexpected keyword argument 'color'; the arguments are word, times, kinds"),
        ({"word": {"id": "x"}}, "word must be of type string, got {'id': 'x'}"),
        ({"word": "a", "times": "many"}, "times must be of type integer, got 'many'"),
        ({"word": "a", "times": "9" * 5000}, "times has 5,000 characters"),
        ({"word": "a", "times": float("inf")}, "times has the number inf; numbers must be finite"),
        ({"word": "a", "times": True}, "times must be of type integer, got True"),
        ({"word": "a", "times": 2.5}, "times must be of type integer, got 2.5"),
        ({"word": "a", "kinds": {"x": 1}}, "kinds must be of type array"),
    ],
)
def test_wrong_arguments_are_an_error_of_one_line(arguments, message):
    with pytest.raises(InputError) as caught:
        parse_arguments(REPEAT, (), arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_positional_arguments_get_the_names_of_the_parameters():
    assert parse_arguments(REPEAT, ("a", "3"), {"kinds": ["page"]}) == {"word": "a", "times": 3, "kinds": ["page"]}
    with pytest.raises(InputError, match="too many arguments; the arguments are word, times, kinds"):
        parse_arguments(REPEAT, ("a", 1, None, 4), {})


def test_a_strict_schema_requires_every_argument():
    schema = unchecked_model("repeat", json_schema(REPEAT), strict=True).model_json_schema()
    assert schema["required"] == ["word", "times", "kinds"]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("strict", [False, True])
def test_a_schema_has_only_keywords_of_strict_modes(strict):
    allowed = {"type", "description", "items", "enum", "properties", "required", "additionalProperties", "title"}

    def keywords(schema):
        yield from schema
        for each in [*schema.get("properties", {}).values(), *filter(None, [schema.get("items")])]:
            yield from keywords(each)

    model = unchecked_model("repeat", json_schema(REPEAT), strict=strict)
    for schema in (json_schema(REPEAT), model.model_json_schema()):
        assert set(keywords(schema)) <= allowed


def test_a_framework_receives_the_schema_and_passes_values_on_unchanged():
    model = unchecked_model("repeat", json_schema(REPEAT))
    properties = model.model_json_schema()["properties"]
    assert properties["times"]["type"] == "integer" and properties["kinds"]["type"] == "array"
    assert properties["word"]["description"] == "The word."
    values = model(word={"id": "x"}, times="many")
    assert (values.word, values.times, values.kinds) == ({"id": "x"}, "many", None)
    with pytest.raises(ValidationError):
        model(times=1)
    with pytest.raises(ValidationError):
        model(word="a", color="red")


@pytest.mark.parametrize("k", [1, 20])
def test_k_may_lie_at_the_ends_of_its_range(k):
    assert check_k(k) == k


@pytest.mark.parametrize("k", [-1, 0, 21])
def test_k_out_of_range_is_refused(k):
    with pytest.raises(InputError, match=f"k is {k}; it must lie between 1 and 20"):
        check_k(k)


def test_no_kinds_are_all_kinds():
    assert check_kinds(None) is check_kinds([]) is None
    assert check_kinds(["page", "clip", "page"]) == {"page", "clip"}


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="unknown kind 'photo'; the kinds are image, page, clip, text"):
        check_kinds(["image", "photo"])


def test_a_filter_is_a_mapping_or_the_json_of_one():
    assert check_filter('{"city": "Rome", "page": 3}') == {"city": "Rome", "page": 3}
    assert check_filter({"$or": [{"kind": "text"}]}) == {"$or": [{"kind": "text"}]}


@pytest.mark.parametrize("filter", [None, "", " \n", "{}", {}])
def test_an_empty_filter_is_none(filter):
    assert check_filter(filter) is None


@pytest.mark.parametrize("filter", ["1 == 1", "[1]", "null", '{"city": "Rome"', "[" * 100_000])
def test_a_filter_that_is_no_json_object_is_refused(filter):
    with pytest.raises(InputError, match="is not a JSON object; write one such as") as caught:
        check_filter(filter)
    assert len(str(caught.value)) < 200
