from typing import TypedDict

import pytest

from florence_rag.errors import InputError, check_keywords, first_line, unknown_chunk_error


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


def test_the_reason_of_an_error_is_its_first_line_and_never_blank():
    assert first_line(ValueError("  too long\nbecause")) == "too long"
    assert first_line(ValueError("")) == "ValueError"


def test_the_advice_to_run_the_code_of_a_file_is_not_repeated():
    advice = "Weights only load failed. Re-running `torch.load` with `weights_only` set to `False` will likely succeed"
    assert first_line(RuntimeError(advice)).startswith("its weights are damaged, or a pickle")
