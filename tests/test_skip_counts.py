from florence_rag.skip_counts import MAX_LISTED, MAX_REASONS, OTHER, SkipCounts, counts_to_line
from florence_rag.types import Locator, Skipped


def test_the_line_names_the_most_frequent_reasons_first():
    counts = {".b": 1, ".mp3": 4, ".a": 1}
    assert counts_to_line(counts) == "skipped 6: 4 .mp3, 1 .a, 1 .b"
    assert counts_to_line({}) == ""


def test_the_line_names_six_reasons_or_five_and_the_number_of_the_others():
    counts = {f".{letter}": 9 - i for i, letter in enumerate("abcdef")}
    assert counts_to_line(counts) == "skipped 39: 9 .a, 8 .b, 7 .c, 6 .d, 5 .e, 4 .f"
    assert counts_to_line(counts | {".g": 1}) == "skipped 40: 9 .a, 8 .b, 7 .c, 6 .d, 5 .e, and 2 other kinds"


def test_counts_are_exact_and_the_list_is_limited():
    counts = SkipCounts()
    counts.extend(Skipped(f"/{i}", ".mp3") for i in range(MAX_LISTED + 5))
    assert counts.by_reason == {".mp3": MAX_LISTED + 5} and len(counts.records) == MAX_LISTED


def test_invented_suffixes_do_not_fill_the_memory():
    counts = SkipCounts()
    counts.extend(Skipped(f"/{i}", f".{i}") for i in range(MAX_REASONS + 5))
    counts.add(Skipped("/again", ".0"))
    assert list(counts.by_reason.items())[:2] == [(OTHER, 5), (".0", 2)]


def test_a_record_says_where_the_part_is():
    assert str(Skipped("/a.pdf", "damaged page", Locator(page=2))) == "'/a.pdf', page 2: damaged page"
    assert Skipped("/a.pdf", "damaged page", Locator(page=2)).to_dict()["locator"] == {"page": 2}
    assert Skipped("/\udce9.mp3", ".mp3").to_dict()["source"] == "/\\udce9.mp3"  # what JSON cannot carry is escaped
    assert Skipped("/a.mp3", ".mp3").to_dict() == {"source": "/a.mp3", "reason": ".mp3"}
