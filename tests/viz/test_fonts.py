import pytest

from florence_rag.viz import fonts
from florence_rag.viz.fonts import TextStyle


@pytest.fixture
def only_own_font(monkeypatch):
    monkeypatch.setattr(fonts, "_SYSTEM_FONTS", ())


@pytest.mark.parametrize("text", ["", "a", "many words " * 30, "x" * 500, "“Größe” – 3 €"])
@pytest.mark.parametrize("width", [5, 60, 240])
def test_lines_fit_and_lose_no_character(text, width):
    style = TextStyle(text, 13)
    lines = style.wrap(width, 1000)
    assert "".join(lines).replace(" ", "") == style.text.replace(" ", "")
    assert all(style.font.getlength(line) <= width or len(line) == 1 for line in lines)


def test_a_text_that_is_left_over_ends_with_an_ellipsis():
    style = TextStyle("many words " * 30, 13)
    lines = style.wrap(100, 2)
    assert len(lines) == 2 and lines[1].endswith("…")
    assert style.fit(100).endswith("…") and style.font.getlength(style.fit(100)) <= 100
    assert TextStyle("short", 13).fit(100) == "short"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("日本", "\\u65e5\\u672c"),
        ("नमस्ते", "\\u0928\\u092e\\u0938\\u094d\\u0924\\u0947"),
        ("ｆｕｌｌ", "full"),
        ("a\tb\nc\x1b[1m", "a b c [1m"),
        ("\udcff", ""),
    ],
)
def test_characters_that_no_font_has_are_escaped(only_own_font, text, shown):
    assert TextStyle(text, 13).text == shown


def test_a_font_of_the_system_shows_other_scripts():
    if fonts._load("DejaVuSans.ttf", 13) is None:
        pytest.skip("needs the font DejaVu")
    assert TextStyle("Ελληνικά и русский", 13).text == "Ελληνικά и русский"
