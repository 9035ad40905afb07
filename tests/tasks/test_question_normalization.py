import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.tasks.question_normalization import question_key

SAME = [
    ("What colour is the car?", "what color is the car", "Which colour is the car?", "What's the colour of the car?"),
    (
        "Is there a red dog?",
        "Is there a red dog in the picture?",
        "Can you see a red dog?",
        "Does the picture show a red dog?",
    ),
    ("How many dogs are there?", "How many dogs can you see?", "How many dogs are in the picture?", "how many dogs"),
    ("What is next to the 2 trees?", "What is beside the two trees"),
    ("Isn't the bus red?", "Is not the bus red?"),
]
DIFFERENT = [
    "What is to the left of the car?",
    "What is to the right of the car?",
    "Is the car left of the bus?",
    "Is the bus left of the car?",
    "Is the bus red?",
    "Isn't the bus red?",
    "Is the bus blue?",
    "How many dogs are there?",
    "How many dogs are there beside the bus?",
    "How many red dogs are there?",
    "How many cars are there?",
    "Are there two dogs?",
    "Are there three dogs?",
    "Are there no dogs?",
    "What is the dog?",
    "What does the dog do?",
    "What is the dog doing?",
    "Where is the dog?",
    "What colour is the dog?",
    "What is the colour of the dog's collar?",
    "What is above the plane?",
    "What is below the plane?",
    "What is above the plan?",
    "Is there a dog?",
    "Is there a dog in the car?",
    "Who is there?",
]


@pytest.mark.parametrize("questions", SAME, ids=lambda questions: questions[0])
def test_questions_with_the_same_meaning_have_one_key(questions):
    assert len({question_key(question) for question in questions}) == 1


def test_different_questions_have_different_keys():
    keys = [question_key(question) for question in DIFFERENT]
    assert len(set(keys)) == len(DIFFERENT)


WORDS = st.sampled_from("left right not no red blue two three car bus above below before after many".split())


@given(st.lists(WORDS, min_size=1, max_size=6), st.lists(WORDS, min_size=1, max_size=6))
def test_words_with_a_meaning_are_never_confused(one, other):
    frame = "is the {} near the dog".format
    same = question_key(frame(" ".join(one))) == question_key(frame(" ".join(other)))
    assert same == (one == other)


@given(st.text(max_size=60))
def test_any_text_has_a_key_and_case_does_not_count(text):
    assert question_key(text) == question_key(f" {text}?!")


def test_a_question_without_words_has_none():
    assert question_key(" ?! ") == ""
