import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from florence_rag.datasets.images import read_labeled_images
from florence_rag.errors import InputError
from florence_rag.evaluation.classify import evaluate_classify, top_k_accuracy
from florence_rag.tasks.classifier import ZeroShotClassifier
from florence_rag.testing import ColorEmbedder, color_frame


@pytest.fixture
def data(tmp_path):
    """Three red images, one of which is labeled blue, and one blue image."""
    for label, color, number in (("red", "red", 1), ("red", "red", 2), ("blue", "red", 3), ("blue", "blue", 4)):
        (tmp_path / label).mkdir(exist_ok=True)
        Image.fromarray(color_frame(color)).save(tmp_path / label / f"{number}.png")
    return tmp_path


def zero_shot(images):
    return ZeroShotClassifier(ColorEmbedder(), sorted({image.label for image in images}))


def test_a_hand_made_case():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.2, 0.4, 0.4]])
    assert top_k_accuracy(probabilities, np.array([0, 1, 2]), 1).tolist() == [1, 0, 0.5]
    assert top_k_accuracy(probabilities, np.array([0, 1, 2]), 2).tolist() == [1, 1, 1]


@given(st.integers(2, 20), st.integers(1, 20))
def test_a_constant_classifier_scores_as_guessing_does(count, top):
    assert top_k_accuracy(np.ones((1, count)), np.array([0]), top) == pytest.approx(min(top / count, 1))


@given(st.integers(0, 2**32 - 1))
def test_accuracy_rises_with_k_to_one(seed):
    rng = np.random.default_rng(seed)
    probabilities, label = rng.random((8, 5)), rng.integers(5, size=8)
    tops = [top_k_accuracy(probabilities, label, top) for top in range(1, 6)]
    assert (np.diff(tops, axis=0) >= 0).all() and (tops[-1] == 1).all()
    assert (tops[0] == (probabilities.argmax(axis=1) == label)).all()


def test_metrics_of_a_data_set(data):
    images = read_labeled_images(data)
    report = evaluate_classify(images, zero_shot(images), ColorEmbedder())
    assert report.counts == {"images": 4, "classes": 2}
    assert [metric.name for metric in report.metrics] == ["top-1", "top-1, mean over classes"]
    assert report["top-1"].value == 0.75 and report["top-1, mean over classes"].value == (1 + 0.5) / 2


def test_each_class_has_the_same_weight_in_the_mean(data):
    (data / "blue" / "4.png").unlink()
    images = read_labeled_images(data)
    report = evaluate_classify(images, zero_shot(images), ColorEmbedder())
    assert report["top-1"].value == pytest.approx(2 / 3) and report["top-1, mean over classes"].value == 0.5


def test_damaged_images_are_reported_and_unknown_labels_refused(data):
    (data / "red" / "1.png").write_text("no image")
    images = read_labeled_images(data)
    report = evaluate_classify(images, zero_shot(images), ColorEmbedder())
    assert report.counts["images"] == 3 and report.failed[0].source.endswith("1.png")
    with pytest.raises(InputError, match="does not know the label 'blue'; it knows green, red"):
        evaluate_classify(images, ZeroShotClassifier(ColorEmbedder(), ["green", "red"]), ColorEmbedder())


def test_the_tiny_model_classifies_synthetic_scenes(scenes):
    from florence_rag.loading.loaders import EMBEDDER
    from florence_rag.loading.model_loader import load_model

    images, embedder = read_labeled_images(scenes / "classes"), load_model(EMBEDDER, "florence-tiny")
    labels = sorted({image.label for image in images})
    report = evaluate_classify(images, ZeroShotClassifier(embedder, labels), embedder)
    assert report["top-1"].value > 0.7 and report["top-5"].value > 0.9 and len(labels) == 9
