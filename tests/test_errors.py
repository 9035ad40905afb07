from typing import TypedDict

import pytest

from florence_rag.errors import InputError, check_keywords, unknown_chunk_error


def test_an_unknown_id_is_an_input_error_that_names_it():
    error = unknown_chunk_error("abc")
    assert isinstance(error, InputError)
    assert str(error) == "no chunk has the id 'abc'; searches return the ids that exist"


class Options(TypedDict, total=False):
    captioner: str
    ocr: str


def test_known_keywords_pass():
    check_keywords({"ocr": "never", "captioner": "a"}, Options)
    check_keywords((), Options)


@pytest.mark.parametrize(
    ("name", "hint"), [("captionr", "did you mean 'captioner'?"), ("x", "allowed are captioner, ocr")]
)
def test_an_unknown_keyword_is_a_type_error_that_says_what_is_allowed(name, hint):
    with pytest.raises(TypeError) as error:
        check_keywords([name, "ocr"], Options)
    assert str(error.value) == f"unknown keyword argument {name!r}; {hint}"
