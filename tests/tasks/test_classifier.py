import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.errors import InputError
from florence_rag.tasks.classifier import check_labels, classify


class Fixed:
    labels = ("cat", "dog", "cow")

    def __init__(self, shares):
        self.shares = shares

    def probabilities(self, vectors):
        return np.array(self.shares, dtype=np.float32)


def test_candidates_are_ordered_and_limited():
    (found,) = classify(Fixed([[0.2, 0.5, 0.3]]), np.zeros((1, 4)), max_candidates=2)
    assert (found.label, found.confidence) == ("dog", 0.5)
    assert found.candidates == (("dog", 0.5), ("cow", 0.3))
    assert found.named("a.jpg").to_dict() == {
        "source": "a.jpg",
        "label": "dog",
        "confidence": 0.5,
        "candidates": [["dog", 0.5], ["cow", 0.3]],
    }


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["cat", " "], "label 2 of 2 is empty"),
        (["cat", "dog", "cat "], "'cat' is given twice"),
        (["cat", "dog", "Cat "], "'cat' and 'Cat' differ in case alone"),
        (["cat"], "fewer than two"),
        ([], "fewer than two"),
        ("cat,dog", "must be a list"),
        (["cat", 1], "must be a list"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(labels, message):
    with pytest.raises(InputError, match=message) as error:
        check_labels(labels)
    assert "\n" not in str(error.value)


@given(st.lists(st.text(max_size=5), max_size=5))
def test_labels_are_taken_or_refused_and_stay_in_order(labels):
    try:
        clean = check_labels(labels)
    except InputError:
        return
    assert len(clean) == len(labels) == len({label.casefold() for label in clean})
    assert all(label.split() == given.split() for label, given in zip(clean, labels, strict=True))
