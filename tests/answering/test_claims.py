import pytest

from florence_rag.answering.claims import claims_of, parse_claim, plural, singular, split_claims


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("The car is blue.", "Is there a blue car?"),
        ("the fire hydrant is red", "Is there a red fire hydrant?"),
        ("In this picture, the car is blue", "Is there a blue car?"),
        ("The person is wearing a red coat", "Is there a person in red?"),
        ("A woman in white is visible.", "Is there a woman in white?"),
        ("there are three people", "How many people are there?"),
        ("The image shows 2 red buses", "How many red buses are there?"),
        ("two of the cars are red", "How many red cars are there?"),
        ("the bus is to the left of the red car", "Is there a bus to the left of a red car?"),
        ("The car on the right side of the tree", "Is there a car to the right of a tree?"),
        ("A dog stands beside the black house", "Is there a dog next to a black house?"),
        ("I can see an orange bicycle behind the house", "Is there an orange bicycle behind a house?"),
        ("There is an umbrella in the photo", "Is there an umbrella?"),
        ("red car", "Is there a red car?"),
    ],
)
def test_a_statement_becomes_a_question(text, question):
    claim = parse_claim(text)
    assert claim.question == question and not claim.is_negated


@pytest.mark.parametrize(
    "text",
    ["There is no dog.", "No dog is visible", "There isn't a dog in the image", "the image does not show a dog"],
)
def test_a_denial_is_recognized(text):
    claim = parse_claim(text)
    assert claim.is_negated and claim.question == "Is there a dog?"


def test_a_count_and_a_side_of_the_image_are_read():
    assert parse_claim("there is one bus").subject.count == 1
    assert parse_claim("there is a bus").subject.count is None
    claim = parse_claim("the bus is on the left of the image")
    assert (claim.relation, claim.other) == ("on the left", None)


@pytest.mark.parametrize(
    "text",
    [
        "The cars are blue",  # of each of them
        "several dogs",
        "at least two dogs",
        "The only car is red",
        "The car was built in 1990",
        "it is blue",
        "quantum banana zebra",
        "Thomas Edison",
        "the woman is holding an umbrella",
        "Der Wagen ist blau",
        "",
        "?!",
        "a" * 5000,
    ],
)
def test_what_no_rule_reads_states_nothing(text):
    assert parse_claim(text) is None


def test_an_answer_is_split_into_clauses_with_their_citations():
    claims = split_claims("The car is blue [1], and there are three people [2, 3]. A bus and two dogs stand there [4].")
    assert [claim.text for claim in claims] == [
        "The car is blue",
        "there are three people",
        "A bus",
        "two dogs stand there",
    ]
    assert [claim.cited for claim in claims] == [(1,), (2, 3), (4,), (4,)]


@pytest.mark.parametrize(
    ("question", "answer", "claim"),
    [
        (", , ,", "yes", "yes"),
        (f"Is the car {'a ' * 30_000}", "yes", "yes"),  # whose parts are not tried one by one
        ("What color is the car?", "red", "the car is red"),
        ("How many dogs are in the picture?", "3", "there are 3 dogs"),
        ("Is there a dog?", "no", "there is not a dog"),
        ("Is the car to the left or to the right of the bus?", "left", "the car is to the left of the bus"),
        ("What is next to the bus?", "sign", "a sign is next to the bus"),
        ("Is the red car next to the bus?", "yes", "the red car is next to the bus"),
        ("What is the capital of Peru?", "Lima", "Lima"),
        ("", "The car is red.", "The car is red"),
    ],
)
def test_a_short_answer_is_completed_by_its_question(question, answer, claim):
    assert [each.text for each in claims_of(answer, question)] == [claim]


@pytest.mark.parametrize("noun", ["person", "bus", "house", "horse", "city", "dog", "box", "woman", "bench", "glass"])
def test_plurals_are_regular_or_listed(noun):
    assert singular(plural(noun)) == noun
    assert singular(noun) == noun
