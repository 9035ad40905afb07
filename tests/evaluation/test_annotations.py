import pytest

from florence_rag.errors import InputError
from florence_rag.evaluation.annotations import field, read_json, records, some


@pytest.mark.parametrize(
    ("record", "kind", "message"),
    [
        ([], str, r"^row 3 is \[\]; it must be an object with the field 'name'"),
        ({"nmae": "x"}, str, "^row 3 has no field 'name'; its fields are 'nmae'"),
        ({}, str, "its fields are none"),
        ({"name": 7}, str, "^the field 'name' of row 3 is 7; it must be a text"),
        ({"name": True}, int, "must be a whole number"),
        ({"name": "7"}, float, "must be a number"),
    ],
)
def test_the_field_that_is_wrong_is_named(record, kind, message):
    with pytest.raises(InputError, match=message):
        field(record, "name", kind, "row 3")


def test_a_whole_number_is_a_number():
    assert field({"x": 3}, "x", float, "it") == 3


def test_what_is_no_json_file_is_an_input_error(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json' is no JSON file"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"gone\.json' cannot be opened"):
        read_json(tmp_path / "gone.json")


def test_an_empty_list_is_an_input_error():
    with pytest.raises(InputError, match=r"'images' of the file 'a\.json' is empty"):
        records({"images": []}, "images", "a.json")
    assert records({"images": [1]}, "images", "a.json") == [(1, "images[0] of 'a.json'")]


def test_some_are_always_the_same_and_keep_their_order():
    few = some(range(100), 10)
    assert few == some(range(100), 10) == sorted(few) and len(set(few)) == 10
    assert some("abc", None) == some("abc", 9) == ["a", "b", "c"]
    with pytest.raises(InputError, match="limit is 0"):
        some("abc", 0)
