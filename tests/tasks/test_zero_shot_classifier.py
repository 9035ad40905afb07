import numpy as np
import pytest

from florence_rag.errors import InputError
from florence_rag.models.prompt_templates import UNICL_PROMPTS
from florence_rag.tasks.classifier import ZeroShotClassifier, classify, label_vectors
from florence_rag.testing import ColorEmbedder, color_frame

EMBEDDER = ColorEmbedder()


def test_pictures_get_the_label_that_fits():
    classifier = ZeroShotClassifier(EMBEDDER, ["red", "deep blue", "green"])
    found = classify(classifier, EMBEDDER.embed_images([color_frame("blue"), color_frame("red", "red", "green")]))
    assert [each.label for each in found] == ["deep blue", "red"]
    assert found[0].confidence > 0.99 > sum(share for _, share in found[1].candidates[1:])


def test_rows_sum_to_one_for_any_number_of_pictures():
    classifier = ZeroShotClassifier(EMBEDDER, ["red", "blue"])
    shares = classifier.probabilities(EMBEDDER.embed_images([color_frame("red")] * 3))
    assert shares.shape == (3, 2) and np.allclose(shares.sum(axis=1), 1)
    assert classifier.probabilities(np.zeros((0, EMBEDDER.info.dimension), np.float32)).shape == (0, 2)


class Counting(ColorEmbedder):
    def __init__(self):
        self.seen = []

    def embed_texts(self, texts):
        self.seen += texts
        return super().embed_texts(texts)


def test_a_label_is_the_mean_of_its_sentences_of_unit_length():
    embedder = Counting()
    vectors = label_vectors(embedder, ["red", "blue"], ["{}", "{} or green"])
    assert embedder.seen == ["red", "red or green", "blue", "blue or green"]
    mean = ColorEmbedder().embed_texts(["red", "red or green"]).mean(axis=0)
    assert np.allclose(vectors[0], mean / np.linalg.norm(mean)) and np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_the_sentences_are_those_of_unicl_and_many_labels_go_in_parts():
    embedder = Counting()
    assert label_vectors(embedder, [f"thing {i}" for i in range(100)]).shape == (100, EMBEDDER.info.dimension)
    assert len(embedder.seen) == 100 * len(UNICL_PROMPTS)


def test_an_embedder_says_how_far_its_cosines_lie_apart():
    red = EMBEDDER.embed_images([color_frame("red", "blue", "red")])
    sure = [
        ZeroShotClassifier(EMBEDDER, ["red", "blue"], scale=scale).probabilities(red)[0, 0] for scale in (1, 5, None)
    ]
    assert 0.5 < sure[0] < sure[1] < sure[2]


@pytest.mark.parametrize("prompts", [[], "a {}", ["a photo"], ["{} and {}"], [3], ["{0}"]])
def test_prompts_without_a_place_for_the_label_are_refused(prompts):
    with pytest.raises(InputError, match="in place of the label"):
        label_vectors(EMBEDDER, ["red", "blue"], prompts)
