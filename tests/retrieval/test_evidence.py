import pytest

from florence_rag.retrieval import evidence
from florence_rag.retrieval.evidence import Phrase, QueryTerms
from florence_rag.tokenize import fold


@pytest.mark.parametrize(
    ("phrase", "text", "spelled"),
    [
        ("J.P. Morgan", "the J.P.Morgan tower", "J.P.Morgan"),
        ("J.P. Morgan", "JPMorgan", "JPMorgan"),
        ("jpmorgan", "J.P.\nMorgan", "J.P. Morgan"),
        ("email", "by E-Mail", "E-Mail"),
        ("carpet", "a red car-\npet", "car- pet"),
        ("03-17", "row 03-17, left", "03-17"),
        ("03-17", "\uff10\uff13\uff0d\uff11\uff17", "03-17"),
        ("Straße", "STRASSE 4", "STRASSE"),
        ("strasse", "die Straße", "Straße"),
        ("lodz", "z Łodzi do Łódź.", "Łódź"),
        ("cafe noir", "un Cafe\u0301 noir", "Café noir"),
        ("istanbul", "İstanbul'da", "İstanbul"),
        ("οδυσσεας", "Ο Οδυσσέας πήγε", "Οδυσσέας"),
        ("السوق", "إِلَى السُّوقِ", "السُّوقِ"),
        ("hyphen", "hy\u00adphen", "hyphen"),
        ("the night bus", "NIGHT BUS", "NIGHT BUS"),
        ("東京", "これは東京都です", "東京"),
        ("東京", "これは東\n京です", "東 京"),
        ("東京2024", "東京 2024", "東京 2024"),
        ("가방", "책가방", "가방"),
        ("ข้าว", "กินข้าวเช้า", "ข้าว"),
        ("बाजार", "यह बाज़ार है", "बाज़ार"),
        ("🎉", "party 🎉!", "🎉"),
    ],
)
def test_a_phrase_is_found_as_the_text_spells_it(phrase, text, spelled):
    assert Phrase(phrase).find(text) == spelled


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("03-17", "03-11"),
        ("03-17", "2003-178"),
        ("art", "a cart"),
        ("red car", "car, red"),
        ("nowhere", "now here"),
        ("nowhere", "not now. Here it is"),
        ("car pet", "a carpet"),
        ("दिन", "दीन"),
        ("दन", "दिन"),
        ("काम", "कामकाज"),
        ("மரம்", "மரமும்"),
        ("가방", "아버지가 방에"),  # "bag" in "the father is in the room"
        ("東京", "東。京"),
        ("ขา", "เขาไป"),  # "leg" in "he goes": the vowel before the consonant belongs to its syllable
        ("ข้าว", "เข้า วัน"),
        ("กน", "กิน"),
        ("က", "ကန်"),
        ("ត", "ចិត្ត"),
        ("мой", "мои"),
        ("か", "が"),
        ("京都", "東京都"),
        ("ขา", "เสื้อขาว"),  # "leg" in "white shirt"
        ("กา", "กาแฟ"),  # "crow" in "coffee"
        ("ភា", "ភាសា"),
    ],
)
def test_a_phrase_is_not_found_in_parts_of_words_or_in_another_order(phrase, text):
    assert Phrase(phrase).find(text) is None


def test_a_phrase_without_letters_or_of_a_whole_page_finds_nothing():
    assert Phrase("?!").find("?!") is None
    assert Phrase("word " * 200).find("word " * 200) is None


@pytest.mark.parametrize(
    ("query", "text", "found"),
    [
        ("strasse lodz", "Die Straße in Łódź", ["Straße", "Łódź"]),
        ("parked dogs", "A DOG in the Parks", ["Parks", "DOG"]),
        ("दिन", "आज का दिन", ["दिन"]),
        ("東京都の紅葉", "京都の紅葉", ["紅葉"]),  # Kyoto is no part of Tokyo
        ("กินข้าวเช้า", "ไปกินข้าวที่ตลาด", ["กิน", "ข้าว"]),
        ("ข้าว", "กินข้าวเช้า", ["ข้าว"]),
        ("ข้าว", "ขาว าว", None),
        ("시장에서", "극장에 가다", []),  # shares two characters across a border of words, which proves nothing
        ("दिन", "दान दीन दन", None),
    ],
)
def test_matched_terms_are_words_of_the_text(query, text, found):
    match = QueryTerms(query).match(text)
    assert (match and match.found) == found


def test_the_spelling_of_the_query_is_preferred():
    match = QueryTerms("café").match("a cafe, the CAFÉ")
    assert (match.found, match.same_spelling) == (["CAFÉ"], 1.0)
    assert QueryTerms("café").match("a cafe").same_spelling == 0.0
    assert QueryTerms("strasse").match("Straße").same_spelling == 0.0


def test_a_text_is_folded_once_for_all_words_of_a_query(monkeypatch):
    terms = QueryTerms("".join(f"京都{number}東京大阪" for number in range(50)))
    folded, text = [], "大阪と京都 " * 10
    monkeypatch.setattr(evidence, "fold", lambda part: folded.append(part) or fold(part))
    assert terms.match(text)
    assert len(folded) <= len(text)  # the text, and each of its characters


@pytest.mark.timeout(60)
def test_many_line_breaks_after_a_hyphen_are_passed_once():
    """They took as long as the square of their number: minutes for these."""
    assert Phrase("redder").find("red-" + "\n" * 100_000) is None
    assert Phrase("redder").find("red-" + "\n" * 1_000 + "der") == "red- der"
