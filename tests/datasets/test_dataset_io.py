import os

import pytest

from florence_rag.datasets.dataset_io import (
    Record,
    evaluation_files,
    read_json,
    read_table,
    sample_items,
    splits_by_name,
)
from florence_rag.errors import InputError


@pytest.mark.parametrize(
    ("record", "kind", "message"),
    [
        ([], str, r"^row 3 is \[\]; it must be an object with the field 'name'"),
        ({"nmae": "x"}, str, "^row 3 has no field 'name'; its fields are 'nmae'"),
        ({}, str, "its fields are none"),
        ({"name": 7}, str, "^the field 'name' of row 3 is 7; it must be a string"),
        ({"name": True}, int, "must be an integer"),
        ({"name": "7"}, float, "must be a number"),
    ],
)
def test_an_error_names_the_wrong_field(record, kind, message):
    with pytest.raises(InputError, match=message):
        Record(record, "row 3").get("name", kind)


def test_an_integer_is_a_number():
    assert Record({"x": 3}, "it").get("x", float) == 3


def test_a_missing_or_null_field_has_its_default():
    for fields in ({"x": None}, {}):
        assert Record(fields, "it").get("x", str, "y") == "y"


def test_an_id_is_an_integer_or_a_string():
    assert Record({"id": 3}, "it").id("id") == 3 and Record({"id": "a"}, "it").id("id") == "a"
    for value in (True, 1.5, None):
        with pytest.raises(InputError, match="must be an integer or a string"):
            Record({"id": value}, "it").id("id")


def test_a_blank_text_is_refused():
    with pytest.raises(InputError, match="the field 'name' of it is empty"):
        Record({"name": " "}, "it").text("name")


def test_a_file_that_is_not_json_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json' is not JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"gone\.json' cannot be opened"):
        read_json(tmp_path / "gone.json")


def test_an_empty_list_is_refused():
    with pytest.raises(InputError, match=r"'images' of the file 'a\.json' is empty"):
        Record({"images": []}, "the file 'a.json'").records("images")
    assert Record({"images": [1]}, "it").records("images") == [Record(1, "images[0] of it")]
    assert Record({"images": []}, "it").records("images", allow_empty=True) == []


@pytest.mark.parametrize("content", [b"[" * 200_000, b"9" * 5000, b'{"images": [], "images": []}', b"\xff\xfe{"])
def test_a_json_file_that_would_do_harm_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"the file .*a\.json' (is|has)"):
        read_json(tmp_path / "a.json")


def test_a_device_or_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    (tmp_path / "a.json").symlink_to("/dev/zero")
    for read in (lambda: read_json(tmp_path / "a.json"), lambda: list(read_table(tmp_path / "a.csv"))):
        with pytest.raises(InputError, match="is not a regular file"):
            read()


def table(tmp_path, text, name="a.csv", **options):
    (tmp_path / name).write_text(text)
    return [(row.fields, row.where.partition(" of ")[0]) for row in read_table(tmp_path / name, **options)]


def test_the_first_row_of_a_table_names_its_columns(tmp_path):
    assert table(tmp_path, "\ufeffImage, Label\na.png ,cat\n\nb.png\n") == [
        ({"image": "a.png", "label": "cat"}, "row 2"),
        ({"image": "b.png", "label": ""}, "row 4"),
    ]
    assert table(tmp_path, '{"Image": 1, "text": null}\n\n', "a.jsonl") == [({"image": "1", "text": ""}, "line 1")]


def test_a_table_without_header_has_the_default_columns(tmp_path):
    columns = {"default_header": ("path", "label")}
    assert table(tmp_path, "a.png,text\n", **columns) == [({"path": "a.png", "label": "text"}, "row 1")]
    assert table(tmp_path, "images/1,cat\n", **columns) == [({"path": "images/1", "label": "cat"}, "row 1")]
    assert table(tmp_path, "file,class\n1,cat\n", **columns) == [({"file": "1", "class": "cat"}, "row 2")]


def test_a_cell_may_hold_commas_and_line_breaks(tmp_path):
    assert table(tmp_path, 'image,text\na.png,"one, two\nthree"\n')[0][0]["text"] == "one, two\nthree"


def test_a_row_with_too_many_cells_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"row 2 of .* must have 2 cells"):
        table(tmp_path, "image,text\na.png,one, two\n")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"no", "line 1 of .* is not JSON"),
        ("a.jsonl", b"[]", "line 1 .* must be an object"),
        ("a.jsonl", b"[" * 100_000, "line 1 .* is nested deeper"),
        ("a.jsonl", b'{"a":' + b" " * 10_000_000, "line 1 .* has more than 10,000,000 characters"),
        ("a.csv", b"image,text\n" + b"x" * 10_000_001, "line 2 .* has more than 10,000,000 characters"),
        ("a.csv", b'image,text\n"' + b"x\n" * 100_000, "is not a CSV file: field larger"),
        ("a.csv", "image,text".encode("utf-16"), "cannot be read as text in UTF-8"),
        ("a.csv", b"\xff", "cannot be read as text in UTF-8"),
        ("a.csv", b"text\nx\n", "has no column 'image'; its columns must be image, text"),
        ("a.csv", b"image,text\n", "lists nothing; its columns must be image, text"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_table(tmp_path / name, required=("image", "text")))


def test_file_names_determine_the_split(tmp_path):
    train, val = tmp_path / "train2014_a.json", tmp_path / "val2014_a.json"
    assert splits_by_name([train, val]) == {train: "train", val: "val"}
    assert splits_by_name([val]) == {val: ""} and splits_by_name([train]) == {train: ""}
    assert evaluation_files([train, val]) == (val,) and evaluation_files([train]) == (train,)


def test_a_sample_is_always_the_same_and_keeps_the_order():
    few = sample_items(range(100), 10)
    assert few == sample_items(range(100), 10) == sorted(few) and len(set(few)) == 10
    assert sample_items("abc", None) == sample_items("abc", 9) == ["a", "b", "c"]
    with pytest.raises(InputError, match="limit is 0"):
        sample_items("abc", 0)
