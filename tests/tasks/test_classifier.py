import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.errors import InputError
from florence_rag.models.prompt_templates import UNICL_PROMPTS
from florence_rag.tasks.classifier import ZeroShotClassifier, check_labels, classify, label_vectors
from florence_rag.testing import ColorEmbedder, color_frame
from florence_rag.types import Hit, Locator

EMBEDDER = ColorEmbedder()


def hit(source=""):
    return Hit("", "image", source, Locator(), 0.0)


class FixedClassifier:
    labels = ("cat", "dog", "cow")

    def __init__(self, shares):
        self.shares = shares

    def probabilities(self, vectors):
        return np.array(self.shares, dtype=np.float32)


def test_candidates_are_ordered_and_limited():
    (found,) = classify(FixedClassifier([[0.2, 0.5, 0.3]]), np.zeros((1, 4)), [hit("a.jpg")], max_candidates=2)
    assert (found.label, found.confidence) == ("dog", 0.5)
    assert found.candidates == (("dog", 0.5), ("cow", 0.3))
    assert found.to_dict() == {
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
def test_ambiguous_labels_are_refused(labels, message):
    with pytest.raises(InputError, match=message) as error:
        check_labels(labels)
    assert "\n" not in str(error.value)


@given(st.lists(st.text(max_size=5), max_size=5))
def test_accepted_labels_keep_their_order(labels):
    try:
        clean = check_labels(labels)
    except InputError:
        return
    assert len(clean) == len(labels) == len({label.casefold() for label in clean})
    assert all(label.split() == original.split() for label, original in zip(clean, labels, strict=True))


def test_images_get_the_most_similar_label():
    classifier = ZeroShotClassifier(EMBEDDER, ["red", "deep blue", "green"])
    found = classify(
        classifier, EMBEDDER.embed_images([color_frame("blue"), color_frame("red", "red", "green")]), [hit(), hit()]
    )
    assert [each.label for each in found] == ["deep blue", "red"]
    assert found[0].confidence > 0.99 > sum(share for _, share in found[1].candidates[1:])


def test_rows_sum_to_one_for_any_number_of_images():
    classifier = ZeroShotClassifier(EMBEDDER, ["red", "blue"])
    shares = classifier.probabilities(EMBEDDER.embed_images([color_frame("red")] * 3))
    assert shares.shape == (3, 2) and np.allclose(shares.sum(axis=1), 1)
    assert classifier.probabilities(np.zeros((0, EMBEDDER.info.dimension), np.float32)).shape == (0, 2)


class RecordingEmbedder(ColorEmbedder):
    def __init__(self):
        self.texts = []

    def embed_texts(self, texts):
        self.texts += texts
        return super().embed_texts(texts)


def test_a_label_is_the_mean_of_its_sentences_of_unit_length():
    embedder = RecordingEmbedder()
    vectors = label_vectors(embedder, ["red", "blue"], ["{}", "{} or green"])
    assert embedder.texts == ["red", "red or green", "blue", "blue or green"]
    mean = ColorEmbedder().embed_texts(["red", "red or green"]).mean(axis=0)
    assert np.allclose(vectors[0], mean / np.linalg.norm(mean)) and np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_unicl_prompts_are_the_default_and_labels_are_batched():
    embedder = RecordingEmbedder()
    assert label_vectors(embedder, [f"thing {i}" for i in range(100)]).shape == (100, EMBEDDER.info.dimension)
    assert len(embedder.texts) == 100 * len(UNICL_PROMPTS)


def test_the_scale_of_the_embedder_is_the_default():
    red = EMBEDDER.embed_images([color_frame("red", "blue", "red")])
    confidences = [
        ZeroShotClassifier(EMBEDDER, ["red", "blue"], scale=scale).probabilities(red)[0, 0] for scale in (1, 5, None)
    ]
    assert 0.5 < confidences[0] < confidences[1] < confidences[2]


@pytest.mark.parametrize("prompts", [[], "a {}", ["a photo"], ["{} and {}"], [3], ["{0}"]])
def test_prompts_without_a_placeholder_are_refused(prompts):
    with pytest.raises(InputError, match="in place of the label"):
        label_vectors(EMBEDDER, ["red", "blue"], prompts)
