import codecs
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.chunking.config import MAX_TEXT_BYTES, ChunkingConfig
from florence_rag.chunking.text import (
    MAX_FILE_BYTES,
    chunk_source,
    decode_html,
    decode_text,
    html_to_text,
    split_passages,
)
from florence_rag.errors import MediaError
from tests.chunking.samples import encode, scene, source

GERMAN = "Größe: 12 mm, naïve façade – “quoted”. Die Straße führt über die Brücke."
JAPANESE = "青い車が赤い消火栓の隣に停まっている。今日は天気がいい。東京タワーの写真です。"
CHINESE = "一辆蓝色的汽车停在红色消防栓旁边。今天天气很好。北京的街道上有很多自行车。"

QUADRATIC_TIME_FAILS = pytest.mark.timeout(60)  # linear time takes a few seconds

PAGE = """<!DOCTYPE html><html><head><title> My
 page</title><style>p{color:red}</style>
<script>var a = "<p>unseen</p>";</script></head>
<body><h1>Heading</h1><p>One&nbsp;two &amp; <b>th</b>ree.<br>Next line
in the source<ul><li>first<li>second</ul>
<table><tr><td>1</td><td>2</td></tr><tr><td>3<td>4</table>
<img alt='a red car' src=x><svg><title>logo</title><text>unseen</text></svg> <![if x]>shown<![endif]> <!-- unseen -->
<template>unseen</template><noscript>unseen</noscript> tail"""


def passages(text: str, words: int) -> list[str]:
    return [text[start:end] for start, end in split_passages(text, words)]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "utf-8"),
        (GERMAN, "utf-8-sig"),
        (GERMAN, "utf-16"),
        (GERMAN, "utf-16-le"),
        (GERMAN, "utf-16-be"),
        (GERMAN, "utf-32"),
        (GERMAN, "cp1252"),
        ("café", "latin-1"),
        (JAPANESE, "utf-8"),
        (JAPANESE, "utf-16"),
        (JAPANESE, "cp932"),
        (JAPANESE * 3, "euc_jp"),
        (CHINESE, "gb18030"),
        ("一輛藍色的汽車停在紅色消防栓旁邊。今天天氣很好。", "big5"),
        ("파란 자동차가 빨간 소화전 옆에 주차되어 있다.", "cp949"),
        ("Привет, мир. Это короткий текст о синей машине.", "cp1251"),
        ("Καλημέρα κόσμε, τι κάνεις;", "cp1253"),
    ],
)
def test_text_is_decoded_in_any_encoding(text, encoding):
    assert decode_text(text.encode(encoding), "a.txt") == text


def test_newlines_are_unified_and_control_characters_are_removed():
    assert decode_text(b"a\r\nb\rc\x0cd\x07e\xc2\xa0f\tg", "a.txt") == "a\nb\nc d e f\tg"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (encode(scene(1), "JPEG"), "a JPEG image"),
        (b"PK\x03\x04\x14\0\0\0", "a ZIP archive"),
        (b"abc\0\0\0\0def\0\0\1\2\3" * 9, "unknown binary data"),
        (bytes(range(1, 32)) * 20, "unknown binary data"),
    ],
)
def test_a_file_that_is_no_text_is_named_with_its_format(data, found):
    with pytest.raises(MediaError, match=rf"'a\.txt' is not text: it starts like {found}"):
        decode_text(data, "a.txt")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (f"<meta charset='shift_jis'><p>{JAPANESE}".encode("cp932"), JAPANESE),
        (b"<META http-equiv=x content='text/html; charset=iso-8859-2'>\xb1", "\u0105"),
        (f"<meta charset=latin1>{GERMAN}".encode("utf-8-sig"), GERMAN),
        (f"<meta charset=us-ascii>{GERMAN}".encode(), GERMAN),
        (b"<meta charset=no-such-thing>caf\xe9", "caf\u00e9"),
    ],
)
def test_pages_may_declare_their_charset(data, text):
    assert decode_html(data, "a.html").endswith(text)


def test_a_short_text_is_one_passage():
    assert passages("  One sentence.\nAnother.  \n", 120) == ["One sentence.\nAnother."]
    assert passages(" \n\n ", 120) == []


def test_passages_end_with_paragraphs_where_one_ends_nearby():
    paragraph = "word " * 39 + "end."
    text = "\n\n".join([paragraph] * 9)
    assert passages(text, 120) == ["\n\n".join([paragraph] * 3)] * 3


def test_otherwise_passages_end_with_sentences():
    found = passages("A sentence of six short words. " * 100, 120)
    assert all(passage.endswith("words.") for passage in found)
    assert all(60 <= len(passage.split()) <= 180 for passage in found)


def test_otherwise_passages_end_with_lines_or_between_words():
    assert all(passage.count("\n") == 11 for passage in passages(("ten words " * 5 + "\n") * 48, 120))
    assert [len(passage.split()) for passage in passages("word " * 360, 120)] == [120, 120, 120]


def test_headings_stay_with_the_next_paragraph():
    text = ("word " * 100 + "\n# Heading\n") * 3
    assert [passage[:9] for passage in passages(text, 100)[1:]] == ["# Heading"] * 2


def test_scripts_without_spaces_are_cut_at_their_sentences():
    found = passages(JAPANESE * 20, 120)
    assert len(found) > 5
    assert all(passage.endswith("。") and len(passage) < 180 for passage in found)


def test_text_without_borders_is_cut():
    found = passages("x" * 1_000_000, 250)
    assert "".join(found) == "x" * 1_000_000
    assert max(map(len, found)) <= MAX_TEXT_BYTES


@given(st.text(alphabet=st.sampled_from("ab .!?\n\t#語。」é𝄞"), max_size=400), st.integers(1, 12))
def test_passages_cover_all_words_in_order_and_stay_short(text, words):
    spans = list(split_passages(text, words))
    assert "".join("".join(text[start:end].split()) for start, end in spans) == "".join(text.split())
    assert all(start < end for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert all(not text[edge].isspace() for start, end in spans for edge in (start, end - 1))


def test_chunks_quote_their_span(tmp_path):
    path = tmp_path / "chronicle.md"
    path.write_bytes(("\ufeff" + "The bus came.\r\nIt was red. " * 200).encode())
    text = decode_text(path.read_bytes(), "")
    chunks = list(chunk_source(source(path, "text"), ChunkingConfig(passage_words=50)))
    assert len(chunks) > 10 and len({chunk.id for chunk in chunks}) == len(chunks)
    for chunk in chunks:
        start, end = chunk.locator.span
        assert chunk.text == text[start:end]
        assert chunk.kind == "text" and chunk.frames == ()


def test_pages_give_their_readable_text_and_title(tmp_path):
    path = tmp_path / "page.HTML"
    path.write_text("<title>Street  news</title><script>x</script><p>A bus &amp; a car.")
    (chunk,) = chunk_source(source(path, "text"), ChunkingConfig())
    assert (chunk.text, chunk.metadata, chunk.locator.span) == ("A bus & a car.", {"title": "Street news"}, (0, 14))


@pytest.mark.parametrize(("name", "data"), [("a.txt", b" \n\t "), ("a.html", b"<script>alert(1)</script>")])
def test_files_without_text_are_named(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(MediaError, match=rf"{name}' contains no text"):
        list(chunk_source(source(path, "text"), ChunkingConfig()))


def test_files_too_large_to_be_documents_are_named(tmp_path):
    path = tmp_path / "a.log.txt"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(MediaError, match="more than 16,000,000 bytes"):
        list(chunk_source(source(path, "text"), ChunkingConfig()))


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF32_BE, b"<meta charset=utf-7>"]),
)
def test_any_bytes_are_text_or_a_media_error(data, mark):
    for decode in (decode_text, decode_html):
        with suppress(MediaError):
            text = decode(mark + data, "a.txt")
            text.encode("utf-8")
            assert "\0" not in text and "\r" not in text


def test_only_visible_text_is_extracted():
    title, text = html_to_text(PAGE)
    assert title == "My page"
    assert text == (
        "Heading\n\nOne two & three.\nNext line in the source\n\nfirst\nsecond\n\n1 2\n3 4\n\na red car shown tail"
    )


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("no markup at all", "no markup at all"),
        ("a < b and c > d &lt; e", "a < b and c > d < e"),
        ("<svg><svg></svg>unseen</svg>seen", "seen"),
        ("<svg/>seen", "seen"),
        ("</svg></p>seen", "seen"),
        ("<![foo[ x ]]>seen", "seen"),
        ("<!FOO><?php x ?>seen", "seen"),
        ("<p>open <b", "open"),
        ("", ""),
    ],
)
def test_malformed_markup_is_read_as_far_as_possible(markup, text):
    assert html_to_text(markup)[1] == text


@QUADRATIC_TIME_FAILS
@pytest.mark.parametrize(
    "piece",
    ["<", "<a", "<a ", "<!--", "<?", "</", "</a", "<a b='", "<!DOCTYPE [", "<![CDATA[", "&#", "<div>", "<svg>", " \n"],
)
def test_repetition_takes_linear_time(piece):
    html_to_text(piece * 300_000)


@QUADRATIC_TIME_FAILS
def test_nesting_without_end_takes_linear_time():
    html_to_text("<svg>" * 100_000 + "</title>" * 100_000)


@given(st.lists(st.sampled_from([*"<>/!-&;#'\" a\n[]?=", "script", "svg", "title", "p", "amp", "CDATA"]), max_size=60))
def test_no_markup_raises_an_error(pieces):
    title, text = html_to_text("".join(pieces))
    assert text == text.strip() and "\n\n\n" not in text and "\n" not in title


@pytest.mark.parametrize("text", ["\x1d", " \x1c ", "\x1e\x1f" * 30])
def test_separators_alone_are_no_passage(text):
    assert not list(split_passages(text, 10))
