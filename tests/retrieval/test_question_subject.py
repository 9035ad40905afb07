import pytest

from florence_rag.retrieval.question_subject import subject_of


@pytest.mark.parametrize(
    ("question", "subject"),
    [
        ("What color is the car next to the bus?", "the car next to the bus"),
        ("what colour is the dog beside the person in green", "the dog beside the person in green"),
        ("How many red bicycles are there?", "red bicycles"),
        ("How many dogs are in the picture?", "dogs"),
        ("Is there a house next to a bicycle?", "a house next to a bicycle"),
        ("Is the bus to the left or to the right of the red car?", "the bus and the red car"),
        ("What is next to the purple dog?", "the purple dog"),
        ("Can you see a man with a hat in this photo?", "a man with a hat"),
        ("a red car?", "a red car?"),
        ("What is this?", "this"),
        ("Where is it?", "Where is it?"),
    ],
)
def test_the_subject_of_a_question(question, subject):
    assert subject_of(question) == subject


@pytest.mark.parametrize("text", ["a red car", "Welche Farbe hat das Auto?", "这是什么？", "The color of money", "?"])
def test_other_texts_stay_as_they_are(text):
    assert subject_of(text) == text
