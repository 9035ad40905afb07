from typing import Annotated, ClassVar

import pytest

from florence_rag.errors import InputError, StoreUnavailableError
from florence_rag.tools.base import Tool, ToolResult
from florence_rag.types import Kind


class Repeat(Tool):
    name: ClassVar[str] = "repeat"
    prompt: ClassVar[str] = "Repeats a word."

    def run(
        self,
        word: Annotated[str | bytes, "The word."],
        times: Annotated[int, "How often."] = 2,
        kinds: Annotated[list[Kind] | None, "Of what."] = None,
    ) -> ToolResult:
        if word == "unreachable":
            raise StoreUnavailableError("the server is not there")
        if not word:
            raise InputError("word is empty")
        return ToolResult(" ".join([str(word)] * times), {"word": word, "times": times, "kinds": kinds})


def test_the_schema_holds_types_of_json():
    assert Repeat(None).parameters == {
        "type": "object",
        "properties": {
            "word": {"type": "string", "description": "The word."},
            "times": {"type": "integer", "description": "How often.", "default": 2},
            "kinds": {
                "type": "array",
                "items": {"type": "string", "enum": ["image", "page", "clip", "text"]},
                "description": "Of what.",
            },
        },
        "required": ["word"],
        "additionalProperties": False,
    }


def test_a_result_reads_as_its_text():
    assert str(Repeat(None)("yes")) == "yes yes"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"word": "a", "times": "3"}, {"times": 3}),
        ({"word": "a", "times": 3.0}, {"times": 3}),
        ({"word": "a", "times": None}, {"times": 2}),
        ({"word": "a", "kinds": "image"}, {"kinds": ["image"]}),
        ({"word": "a", "kinds": ("image", "clip")}, {"kinds": ["image", "clip"]}),
        ({"word": b"a"}, {"word": b"a"}),
    ],
)
def test_arguments_with_a_plain_meaning_are_converted(arguments, expected):
    result = Repeat(None)(**arguments)
    assert not result.is_error
    assert {name: result.artifact[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "missing a required argument: 'word'"),
        ({"word": None}, "missing a required argument: 'word'"),
        ({"word": "a", "color": "red"}, "unexpected keyword argument 'color'; the arguments are word, times, kinds"),
        ({"word": {"id": "x"}}, "word must be of type string, got {'id': 'x'}"),
        ({"word": "a", "times": "many"}, "times must be of type integer, got 'many'"),
        ({"word": "a", "times": "9" * 5000}, "times must be of type integer, got '999"),
        ({"word": "a", "times": float("inf")}, "times must be of type integer, got inf"),
        ({"word": "a", "times": True}, "times must be of type integer, got True"),
        ({"word": "a", "times": 2.5}, "times must be of type integer, got 2.5"),
        ({"word": "a", "kinds": {"x": 1}}, "kinds must be of type array"),
        ({"word": ""}, "word is empty"),
    ],
)
def test_a_wrong_call_is_answered_and_not_raised(arguments, message):
    result = Repeat(None)(**arguments)
    assert result.is_error
    assert result.text.startswith("repeat failed: ")
    assert message in result.text
    assert "\n" not in result.text
    assert message in result.artifact["error"]


def test_a_long_value_is_not_repeated_to_the_model():
    assert len(Repeat(None)(word=["x" * 10_000]).text) < 200


def test_run_raises_for_programs():
    with pytest.raises(InputError, match="word is empty"):
        Repeat(None).run("")


def test_an_error_that_no_other_call_could_avoid_is_raised():
    with pytest.raises(StoreUnavailableError):
        Repeat(None)("unreachable")
