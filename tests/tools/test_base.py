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


def test_a_result_reads_as_its_text():
    assert str(Repeat(None)("yes")) == "yes yes"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "missing a required argument: 'word'"),
        ({"word": "a", "color": "red"}, "unexpected keyword argument 'color'; the arguments are word, times, kinds"),
        ({"word": "a", "times": "many"}, "times must be of type integer, got 'many'"),
        ({"word": ""}, "word is empty"),
        ({"word": "a", "self": 1}, "unexpected keyword argument 'self'"),
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
