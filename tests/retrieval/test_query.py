import pytest

from florence_rag.errors import InputError
from florence_rag.retrieval.query import check_query
from florence_rag.testing import color_frame
from florence_rag.types import KINDS


def test_a_query_holds_the_request():
    frame = color_frame("red")
    query = check_query("  red ", frame, 3, ["image", "clip"])
    assert (query.text, query.k, query.kinds) == ("red", 3, {"image", "clip"})
    assert query.image is frame


def test_kinds_default_to_all_and_accept_one_name():
    assert check_query("red", None, 1, None).kinds == set(KINDS)
    assert check_query("red", None, 1, "page").kinds == {"page"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, None, 5, None), "nothing to search for: give a text, an image, or both"),
        ((" \t", None, 5, None), "the query is empty; describe what to find"),
        (("red", None, 0, None), "k must be a whole number of at least 1, got 0"),
        (("red", None, True, None), "k must be a whole number of at least 1, got True"),
        (("red", None, 2.0, None), "k must be a whole number of at least 1, got 2.0"),
        (("red", None, 5, {"picture"}), r"kinds must be some of image, page, clip, text, got \['picture'\]"),
        (("red", None, 5, [["page"]]), r"kinds must be some of image, page, clip, text, got"),
        (("red", None, 5, set()), r"kinds must be some of image, page, clip, text, got \[\]"),
    ],
)
def test_an_invalid_query_is_explained(arguments, message):
    with pytest.raises(InputError, match=message):
        check_query(*arguments)
