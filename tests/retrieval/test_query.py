import numpy as np
import pytest

from florence_rag.errors import InputError
from florence_rag.retrieval.query import MAX_PARTS, Query, QueryPart, to_query
from florence_rag.testing import color_frame


def test_a_query_separates_positive_and_negative_parts():
    image = QueryPart(image=color_frame("red"), weight=3)
    query = Query([" red ", "at night", image, QueryPart("cars", weight=-1), QueryPart(id="7", weight=-2)])
    assert query.texts == ("red", "at night") and query.text == "red at night"
    assert [part.text or part.id for part in query.negative] == ["cars", "7"]
    assert query.text_share == pytest.approx(0.4) and not query.is_text
    assert query.unwanted_texts == {"cars": pytest.approx(1 / 3)}


def test_a_text_and_an_image_are_one_query():
    text, image = to_query("red", color_frame("blue"), (0, 0, 0.5, 1)).parts
    assert (text.text, image.box) == ("red", (0, 0, 0.5, 1))
    added = to_query(Query(["red", QueryPart("cars", weight=-1)]), color_frame("blue"))
    assert [bool(part.text) for part in added.parts] == [True, True, False]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: to_query(None), "nothing to search for: give a text, an image, or both"),
        (lambda: Query([]), "nothing to search for"),
        (lambda: Query([QueryPart("cars", weight=-1)]), "all parts have negative weights"),
        (lambda: Query("red"), "parts must be a list"),
        (lambda: Query([7]), r"parts\[0\] must be a QueryPart or a text, got 7"),
        (lambda: Query(["red"] * (MAX_PARTS + 1)), f"has {MAX_PARTS + 1} parts; allowed are {MAX_PARTS}"),
        (lambda: Query([" \t"]), "the query is empty; describe what to find"),
        (lambda: QueryPart(), "exactly one of them"),
        (lambda: QueryPart("red", id="7"), "exactly one of them"),
        (lambda: QueryPart(id="  "), "the id is empty"),
        (lambda: QueryPart("red", weight=0), "weight is 0"),
        (lambda: QueryPart("red", weight=1e-320), "must lie from 0.001 to 100"),
        (lambda: QueryPart("red", weight=float("nan")), "weight is nan"),
        (lambda: QueryPart("red", weight=-float("inf")), "weight is -inf"),
        (lambda: QueryPart("red", weight="1"), "weight must be a number"),
        (lambda: QueryPart("red", box=(0, 0, 1, 1)), "a box is a part of an image"),
        (lambda: to_query("red", None, (0, 0, 1, 1)), "give the image, too"),
        *(
            (lambda box=box: QueryPart(image=color_frame("red"), box=box), "box")
            for box in ((0.5, 0, 0.5, 1), (0, 0, 2, 1), (0, 1), "left", (0, 0, np.nan, 1))
        ),
    ],
)
def test_an_invalid_query_is_explained_in_one_line(make, message):
    with pytest.raises(InputError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
