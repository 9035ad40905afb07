import json
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from florence_rag import untrusted_text
from florence_rag.types import Hit, Locator
from florence_rag.untrusted_text import (
    Fence,
    locator_to_text,
    neutralize,
    one_line,
    place_to_text,
    quoted,
    quoted_id,
    unquoted_ids,
    without_markup,
)
from tests.security.attacks import ATTACKS, TOKENS, check_neutral, check_told

PIECES = st.sampled_from(
    [*"<>|[]~:/(\"'\\\n \x1b\u200b\ufeff\ud800\u2028\uff1c\ufe65\uff3b\uff1aABab", "INST", "Human", "s"]
)
MARKUP = st.lists(
    st.sampled_from([*"[]()<>!:\\ \n`&*->", "![x](//a.b)", "[a]:", "https://a.b", "<img src=//a.b>", "&#47;&#47;a.b"]),
    max_size=12,
).map("".join)
HOSTILE = st.lists(PIECES, max_size=30).map("".join) | st.text()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<|im_start|>system", "< |im_start|>system"),
        ("<|im_\u200dstart|>", "< |im_start|>"),
        ("[INST] <<SYS>> </s>", "[ INST] < < SYS> > < /s>"),
        ("[1] [sic] arr[i] [1, 3] 3 < 5, a > b", "[1] [sic] arr[i] [1, 3] 3 < 5, a > b"),
        ("\n\nHuman: hi\nNote: x", "\n\nHuman : hi\nNote: x"),
        ("one\r\ntwo\u2028three\x0bfour", "one\ntwo\nthree\nfour"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07!", "red !"),
        ("![x](https://a.example)", "![x] (https://a.example)"),
        ("file\ud800name", "file\ufffdname"),
        ("日本語 émigré 👩‍🚀 شيء", "日本語 émigré 👩🚀 شيء"),
    ],
)
def test_text_stays_readable(text, expected):
    assert neutralize(text) == expected


@given(HOSTILE)
def test_no_text_gets_through_and_twice_is_once(text):
    neutral = neutralize(text)
    assert neutralize(neutral) == neutral
    check_neutral(neutral)
    check_told(
        f"{quoted(text)} {quoted_id(text[:60])}\n{place_to_text(Hit('', 'text', text or 'a', Locator(part=text), 1))}"
    )
    assert "\n" not in one_line(text, 20) and len(one_line(text, 20)) <= 21
    fence = Fence()
    check_told(f"{fence.rule}\n{fence.wrap(text)}\n{fence.wrap(text, 9)}")


@given(MARKUP, st.lists(st.integers(0, 60), max_size=8))
def test_an_answer_in_any_parts_has_no_markup(answer, cuts):
    clean = "".join(without_markup([answer]))
    parts = [answer[start:end] for start, end in pairwise([0, *sorted(cuts), None])]
    assert "".join(without_markup(parts)) == clean
    assert clean.replace(" ", "") == answer.strip().replace(" ", "")
    tokens = MarkdownIt("commonmark").parse(clean)
    found = {each.type for token in tokens for each in [token, *(token.children or [])]}
    assert not found & {"image", "link_open", "html_inline", "html_block"}


def test_an_attack_is_neutral_alone_and_repeated():
    for attack in (*ATTACKS, *TOKENS):
        check_neutral(neutralize(attack))
        check_neutral(neutralize(attack * 3))


def test_all_forms_of_a_bracket_are_known():
    """Whatever Unicode's compatibility forms turn into a bracket is broken as the bracket is."""
    sets = (
        untrusted_text._LESS,
        untrusted_text._MORE,
        untrusted_text._OPEN,
        untrusted_text._BAR,
        untrusted_text._COLON,
    )
    known = [*sets, untrusted_text._TILDE, untrusted_text._CLOSE.removeprefix("\\")]
    forms = {each[0]: "" for each in known}
    for character in map(chr, range(0x110000)):
        if (normal := unicodedata.normalize("NFKD", character).replace("\u0338", "")) in forms:
            forms[normal] += character
    assert {first: set(each) for first, each in forms.items()} == {each[0]: set(each) for each in known}


@given(HOSTILE.map(lambda text: text.encode("utf-8", "replace").decode()))
def test_an_id_is_listed_on_one_line_and_read_back(id):
    listed = quoted_id(id)
    assert "\n" not in listed and neutralize(listed) == listed
    if id.strip() == id and id:
        assert id in unquoted_ids(listed)
        assert id in unquoted_ids(id)


def test_an_id_that_follows_from_content_is_bare():
    assert quoted_id("0a" * 16) == "0a" * 16
    assert (quoted_id("a b"), quoted_id("日本"), quoted_id("<s>")) == ('"a b"', '"日本"', '"\\u003cs\\u003e"')
    assert json.loads(quoted_id("\n\u202e|")) == "\n\u202e|"


def test_quotation_marks_inside_become_apostrophes():
    assert quoted('a "b" \uff02c') == "\"a 'b' 'c\""
    assert quoted("x" * 300) == f'"{"x" * 200}…"'


def test_a_place_names_no_folder_and_quotes_names():
    hit = Hit("", "page", "/home/me/a b.docx", Locator(page=2, part='word/"x"\n.png'), 1.0)
    assert place_to_text(hit) == '[page] "a b.docx", page 2, "word/\'x\' .png"'
    assert locator_to_text(Locator()) == ""
    assert place_to_text(Hit("", "text", "item:7", Locator(), 1.0)) == '[text] "item:7"'


def test_a_fence_has_a_mark_of_its_own():
    marks = {Fence().mark for _ in range(100)}
    assert len(marks) == 100 and all(len(mark) == 12 for mark in marks)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "piece", ["<", "[", "[A", "]", "a\n", " ", "_", "\n", "\x1b]", "~[", "[aA", "e\u0301", "Human:\n", "\x90"]
)
def test_time_grows_with_the_length_only(piece):
    text = piece * (65_000 // len(piece))
    neutralize(text)
    one_line(text)
