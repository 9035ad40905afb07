import pytest

from florence_rag.errors import InputError
from florence_rag.retrieval.query import Query
from florence_rag.retrieval.request import check_request
from florence_rag.types import KINDS

RED = Query(["red"])


def test_a_request_holds_the_query_and_where_to_search():
    request = check_request(Query(["  red "]), 3, ["image", "clip"], None)
    assert (request.query.text, request.k, request.kinds) == ("red", 3, {"image", "clip"})


def test_kinds_default_to_all_and_accept_one_name():
    assert check_request(RED, 1, None, None).kinds == set(KINDS)
    assert check_request(RED, 1, "page", None).kinds == {"page"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((RED, 0, None), "k must be a whole number of at least 1, got 0"),
        ((RED, True, None), "k must be a whole number of at least 1, got True"),
        ((RED, 2.0, None), "k must be a whole number of at least 1, got 2.0"),
        ((RED, 5, {"picture"}), r"kinds must be some of image, page, clip, text, got \['picture'\]"),
        ((RED, 5, [["page"]]), r"kinds must be some of image, page, clip, text, got"),
        ((RED, 5, set()), r"kinds must be some of image, page, clip, text, got \[\]"),
    ],
)
def test_an_invalid_request_is_explained(arguments, message):
    with pytest.raises(InputError, match=message):
        check_request(*arguments, None)
