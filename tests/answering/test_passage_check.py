import pytest

from florence_rag.answering import passage_check

PASSAGE = [
    "Anna Berg built the clock tower of Marlo in 1985.",
    "It is 30.5 metres high and has three bells.",
    "The library, which was not damaged, has 4,500 books.",
    "The model does not use recurrence.",
    "The red gate opened on 3 May 1990.",
    "About 25% of the visitors came by train.",
]


def check_passage(claim, passage):
    return passage_check.check_passage(claim, map(passage_check.Sentence, passage))


@pytest.mark.parametrize(
    "claim",
    [
        "The clock tower of Marlo was built in 1985",
        "The clock tower was built by Anna Berg.",
        "It has 3 bells and is 30.5 metres high.",
        "The library has 4500 books",
        "The model doesn't use recurrence",
        "25 % of visitors came by train",
    ],
)
def test_a_sentence_with_all_words_and_numbers_supports_a_claim(claim):
    assert check_passage(claim, PASSAGE).verdict == "supported"


@pytest.mark.parametrize(
    ("claim", "quote"),
    [
        ("The clock tower of Marlo was built in 1958", 0),
        ("The clock tower of Marlo was not built in 1985", 0),
        ("It is 35.5 metres high.", 1),
        ("It has four bells", 1),
        ("The library has 5,400 books", 2),
        ("The library has 45 books", 2),
        ("The model uses recurrence", 3),
        ("The gate opened on 4 May 1990", 4),
        ("The gate opened on 3 June 1990", 4),
        ("The blue gate opened on 3 May 1990", 4),
        ("52% of the visitors came by train", 5),
    ],
)
def test_another_number_word_or_denial_contradicts_it(claim, quote):
    judgment = check_passage(claim, PASSAGE)
    assert (judgment.verdict, judgment.quote) == ("contradicted", PASSAGE[quote])


@pytest.mark.parametrize(
    "claim",
    [
        "The clock tower was built by Karl Holm",
        "The clock tower collapsed in 1985",
        "The museum has 4500 books",
        "The library has 12 doors",
        "quantum banana",
        "1985",
        "yes",
        "",
    ],
)
def test_other_claims_stay_open(claim):
    assert check_passage(claim, PASSAGE) is None


def test_a_sentence_that_supports_outweighs_one_that_does_not():
    passage = ["The tower is 30 metres high.", "The other tower is 40 metres high."]
    assert check_passage("The tower is 40 metres high", passage).verdict == "supported"


def test_short_claims_are_less_certain():
    long = check_passage("Anna Berg built the clock tower of Marlo in 1985", PASSAGE)
    short = check_passage("It has three bells", PASSAGE)
    assert short.confidence < long.confidence < 1


def test_a_passage_of_denials_takes_no_time():
    """The words after each denial were copied: 20 s for 65,000 characters, of which a database may hold many."""
    assert check_passage("The bus is not red", ["no not " * 9_000 + "red bus"]).verdict == "supported"
