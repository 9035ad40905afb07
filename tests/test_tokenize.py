import pytest

from florence_rag.tokenize import content_words, fold, phrase_pattern, shared_words, words


def test_words_are_runs_of_letters_and_digits_in_one_case():
    assert words("A red CAR, on 03-17!") == ["a", "red", "car", "on", "03", "17"]


def test_a_script_without_spaces_is_read_in_pairs():
    assert words("東京都2024") == ["東京", "京都", "2024"]
    assert words("車") == ["車"]


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


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("J.P. Morgan", "the J.P.Morgan tower"),
        ("J.P. Morgan", "JPMorgan"),
        ("jpmorgan", "J.P.\nMorgan"),
        ("03-17", "row 03-17, left"),
        ("03-17", "\uff10\uff13\uff0d\uff11\uff17"),
        ("Straße", "STRASSE 4"),
        ("東京", "これは東京都です"),
        ("the night bus", "NIGHT BUS"),
    ],
)
def test_a_phrase_is_found_in_any_case_and_punctuation(phrase, text):
    assert phrase_pattern(phrase).search(fold(text))


@pytest.mark.parametrize(
    ("phrase", "text"), [("03-17", "03-11"), ("03-17", "2003-178"), ("art", "a cart"), ("red car", "car, red")]
)
def test_a_phrase_is_not_found_in_parts_of_words_or_in_another_order(phrase, text):
    assert not phrase_pattern(phrase).search(fold(text))


def test_a_phrase_without_letters_finds_nothing():
    assert phrase_pattern("?!") is None
