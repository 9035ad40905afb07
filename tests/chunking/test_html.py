import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.chunking.html import html_to_text

QUADRATIC_TIME_FAILS = pytest.mark.timeout(60)  # linear time takes a few seconds

PAGE = """<!DOCTYPE html><html><head><title> My
 page</title><style>p{color:red}</style>
<script>var a = "<p>unseen</p>";</script></head>
<body><h1>Heading</h1><p>One&nbsp;two &amp; <b>th</b>ree.<br>Next line
in the source<ul><li>first<li>second</ul>
<table><tr><td>1</td><td>2</td></tr><tr><td>3<td>4</table>
<img alt='a red car' src=x><svg><title>logo</title><text>unseen</text></svg> <![if x]>shown<![endif]> <!-- unseen -->
<template>unseen</template><noscript>unseen</noscript> tail"""


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
