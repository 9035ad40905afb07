import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.tokenize import content_words, shared_words, shorten, words


def test_words_are_runs_of_letters_and_digits_in_one_case():
    assert words("A red CAR, on 03-17!") == ["a", "red", "car", "on", "03", "17"]


def test_a_script_without_spaces_is_read_in_pairs():
    assert words("東京都2024") == ["東京", "京都", "2024"]
    assert words("車") == ["車"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("CAFÉ Cafe\u0301", ["cafe", "cafe"]),
        ("İstanbul Łódź Straße œuvre Ærø", ["istanbul", "lodz", "strasse", "oeuvre", "aero"]),
        ("Tôi ăn phở đó", ["toi", "an", "pho", "do"]),
        ("ΟΔΥΣΣΈΑΣ Οδυσσέας", ["οδυσσεασ"] * 2),
        ("мой мои ёлка Ёлка", ["мой", "мои", "елка", "елка"]),
        ("٢٠٢٤ ۲۰۲۴ २०२४", ["2024"] * 3),
        ("مدرسة أحمد كتــاب", ["مدرسه", "احمد", "كتاب"]),
        ("so\u00adft hy\u200bphen", ["soft", "hyphen"]),
        ("ﬁne ＦＵＬＬ", ["fine", "full"]),
        ("가\u1100\u1161", ["가가"]),
        ("𠮷野家", ["𠮷野", "野家"]),
        ("ন্\u200d ന്\u200d ൻ", ["ন্", "ന്", "ന്"]),
        ("👍🏽 ❤\ufe0f 🇩🇪", ["👍", "❤", "🇩🇪"]),
    ],
)
def test_case_accents_and_invisible_characters_do_not_matter(text, found):
    assert words(text) == words(unicodedata.normalize("NFD", text)) == found


def test_vowel_signs_and_tones_belong_to_their_word():
    assert words("आज का दिन") == ["आज", "का", "दिन"]
    assert words("ตลาดน้ำ") == ["ตลา", "ลาด", "ดน้ํา"]
    assert words("ကျွန်တော်ထမင်း") == ["ကျွန်တော်", "တော်ထ", "ထမင်း"]


@given(st.text())
def test_words_are_the_same_in_both_normal_forms(text):
    assert words(unicodedata.normalize("NFC", text)) == words(unicodedata.normalize("NFD", text))


def test_a_text_is_shortened_between_two_visible_characters():
    assert shorten("दिन", 3) == "दिन"
    assert shorten("दिन है", 2) == "दि…"
    assert shorten("नदी है", 2) == "न…"
    assert shorten("e\u0301e\u0301e\u0301", 3) == "e\u0301…"


def test_a_word_with_accents_is_no_english_stop_word():
    assert content_words("Tôi ăn ở đó")[1] == "an"
    assert content_words("an orange") == ("orange",)


def test_content_words_have_stop_words_only_without_others():
    assert content_words("What is the colour of the red, red car?") == ("colour", "red", "car")
    assert content_words("to be or not to be") == ("not",)
    assert content_words("who is it") == ("who", "is", "it")


@pytest.mark.parametrize(
    ("wanted", "text", "found"),
    [
        (("parked", "dog"), "three dogs in the park", ("parked", "dog")),
        (("bus",), "two buses", ("bus",)),
        (("car",), "a card, a scar", ()),
        (("17", "03"), "on 03-11", ("03",)),
        (("leaves",), "it will leave", ("leaves",)),
    ],
)
def test_shared_words_compare_whole_words_without_their_endings(wanted, text, found):
    assert shared_words(wanted, text) == found
