import pytest

from florence_rag.errors import InputError
from florence_rag.index.literals import NOTHING, all_of, any_of, closed, literal, one_of, starts_with


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a", '"a"'),
        ('a"b\\c\n', r'"a\"b\\c\n"'),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (-2.5, "-2.5"),
        (1e-7, "1e-07"),
        (-(2**63), "-9223372036854775808"),
    ],
)
def test_values_are_written_as_milvus_reads_them(value, written):
    assert literal(value) == written


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**63])
def test_numbers_that_milvus_cannot_read_are_refused(value):
    with pytest.raises(InputError, match="a filter cannot compare with"):
        literal(value)


def test_one_of_and_starts_with():
    assert one_of("id", ["a", 'b"']) == r'id in ["a", "b\""]'
    assert starts_with("source", "/a_%") == 'source >= "/a_%" and source < "/a_&"'
    assert starts_with("source", "\ud7ff") == 'source >= "\ud7ff" and source < "\ue000"'
    assert starts_with("source", "a\U0010ffff") == 'source >= "a\U0010ffff" and source < "b"'
    assert starts_with("source", "") == 'source >= ""'


def test_expressions_are_joined_and_an_empty_one_is_no_restriction():
    assert all_of(["", "page == 1", ""]) == "page == 1"
    assert all_of(["page == 1", "id > 3"]) == "(page == 1) and (id > 3)"
    assert all_of([]) == ""
    assert any_of(["page == 1", NOTHING, "id > 3", "page == 1"]) == "(page == 1) or (id > 3)"
    assert any_of(["page == 1", ""]) == ""
    assert any_of([]) == any_of([NOTHING]) == NOTHING
    assert all_of("abcd") == "((a) and (b)) and ((c) and (d))"


@pytest.mark.parametrize(
    "raw", ["page > 2) or (true", "page > 2)", "(page > 2", 'caption == "a', "caption == 'a\\'", ")("]
)
def test_an_expression_that_is_not_closed_is_refused(raw):
    with pytest.raises(InputError, match="without its partner"):
        closed(raw)
