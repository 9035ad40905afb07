import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.index.text_codec import decode_uri, document_terms, encode_uri, query_terms, truncate


@given(st.text(st.characters(exclude_characters="\0")))
def test_an_encoded_uri_is_valid_unicode_and_comes_back(uri):
    stored = encode_uri(uri)
    stored.encode()
    assert decode_uri(stored) == uri


def test_a_file_name_that_is_not_utf8_comes_back():
    uri = b"/photos/caf\xe9.jpg".decode("utf-8", "surrogateescape")
    assert decode_uri(encode_uri(uri)) == uri != encode_uri(uri)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 40))
def test_truncated_text_fits_and_is_as_long_as_it_can_be(text, max_bytes):
    cut = truncate(text, max_bytes)
    assert text.startswith(cut)
    assert len(cut.encode()) <= max_bytes
    following = text[len(cut) : len(cut) + 1]
    assert not following or len((cut + following).encode()) > max_bytes


def test_truncation_never_splits_a_character():
    assert truncate("夜景", 5) == "夜"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("夜景", "東京タワーと夜景の写真"),
        ("景", "東京タワーと夜景の写真"),
        ("赤い", "赤い車"),
        ("紅葉", "京都の紅葉"),
        ("红色汽车", "一辆红色汽车停在消防栓旁边"),
        ("타워", "도쿄타워"),
        ("J.P. Morgan", "THE J.P.MORGAN TOWER"),
        ("03-17", "row 03-17, left"),
        ("cars", "a red Car"),
        ("\uff10\uff13", "row 03"),
        ("दिन", "आज का दिन"),
        ("বাংলা", "আমি বাংলা বলি"),
        ("ข้าว", "ฉันชอบกินข้าวเช้า"),
        ("ยา", "กินยาแล้ว"),
        ("ບໍ່", "ຂ້ອຍບໍ່ມັກ"),
        ("បាយ", "ខ្ញុំញ៉ាំបាយ"),
        ("စား", "ထမင်းစားတယ်"),
        ("ཟས", "ང་ཟས་ཟ"),
        ("שלום", "שָׁלוֹם עוֹלָם"),
        ("السوق", "إِلَى السُّوقِ"),
        ("ميخواهم", "می\u200cخواهم"),
        ("cafe", "le café"),
        ("strasse", "Straße"),
        ("lodz", "ŁÓDŹ"),
        ("2024", "२०२४"),
        ("🎉", "party 🎉 at noon"),
    ],
)
def test_every_term_of_the_query_is_a_term_of_the_text(query, text):
    assert set(query_terms(query).split()) <= set(document_terms(text, 1000).split())


@pytest.mark.parametrize(
    ("query", "text"), [("दिन", "दान दन दीन"), ("ขา", "เขาไป"), ("มай", "май"), ("மரம்", "முரம்"), ("か", "が")]
)
def test_words_that_differ_in_their_marks_share_no_term(query, text):
    assert not set(query_terms(query).split()) & set(document_terms(text, 1000).split())


def test_a_spelling_is_a_term_of_its_own_if_it_has_accents():
    assert query_terms("Café café cafe") == "caf café caf café caf"
    assert query_terms("the red bus") == "the red bus"


@given(st.text(st.characters(exclude_characters="\0")))
def test_no_analyzer_splits_a_term(text):
    terms = document_terms(text, 100_000)
    assert all(map(str.isalnum, terms.split(" "))) or not terms


def test_two_characters_that_are_not_neighbors_are_no_match():
    assert not set(query_terms("夜車").split()) & set(document_terms("夜の赤い車", 1000).split())


def test_terms_are_cut_between_two_terms():
    assert document_terms("one two three", 9) == "one two"
    assert document_terms("one two", 7) == "one two"


def test_a_text_without_words_has_no_terms():
    assert query_terms("?! \n") == document_terms("?! \n", 100) == ""
