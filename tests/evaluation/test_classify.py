import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.evaluation.classify import among, evaluate_classify, read_names, with_names
from florence_rag.tasks.labeled_dataset import labeled_pictures
from florence_rag.tasks.zero_shot import ZeroShotClassifier
from florence_rag.testing import ColorEmbedder, color_frame


@pytest.fixture
def data(tmp_path):
    """Three red pictures, one of which is said to be blue, and two blue ones."""
    for label, color, number in (("red", "red", 1), ("red", "red", 2), ("blue", "red", 3), ("blue", "blue", 4)):
        (tmp_path / label).mkdir(exist_ok=True)
        Image.fromarray(color_frame(color)).save(tmp_path / label / f"{number}.png")
    return tmp_path


def zero_shot(pictures):
    return ZeroShotClassifier(ColorEmbedder(), sorted({picture.label for picture in pictures}))


def test_a_hand_made_case():
    shares = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.2, 0.4, 0.4]])
    assert among(shares, np.array([0, 1, 2]), 1).tolist() == [1, 0, 0.5]
    assert among(shares, np.array([0, 1, 2]), 2).tolist() == [1, 1, 1]


@given(st.integers(2, 20), st.integers(1, 20))
def test_who_says_the_same_of_all_labels_gets_what_guessing_gets(count, top):
    assert among(np.ones((1, count)), np.array([0]), top) == pytest.approx(min(top / count, 1))


@given(st.integers(0, 2**32 - 1))
def test_more_places_never_hold_less_and_all_hold_everything(seed):
    rng = np.random.default_rng(seed)
    shares, label = rng.random((8, 5)), rng.integers(5, size=8)
    tops = [among(shares, label, top) for top in range(1, 6)]
    assert (np.diff(tops, axis=0) >= 0).all() and (tops[-1] == 1).all()
    assert (tops[0] == (shares.argmax(axis=1) == label)).all()


def test_figures_of_a_data_set(data):
    pictures = with_names(labeled_pictures(data), {})
    report = evaluate_classify(pictures, zero_shot(pictures), ColorEmbedder())
    assert report.counts == {"pictures": 4, "classes": 2}
    assert [figure.name for figure in report.figures] == ["top-1", "top-1, mean over classes"]
    assert report["top-1"].value == 0.75 and report["top-1, mean over classes"].value == (1 + 0.5) / 2


def test_classes_count_alike_in_their_mean(data):
    (data / "blue" / "4.png").unlink()
    pictures = labeled_pictures(data)
    report = evaluate_classify(pictures, zero_shot(pictures), ColorEmbedder())
    assert report["top-1"].value == pytest.approx(2 / 3) and report["top-1, mean over classes"].value == 0.5


def test_folders_can_be_named(data):
    (data / "red").rename(data / "n01")
    (data / "names.json").write_text(json.dumps({"n01": "red", "blue": "blue", "n99": "not there"}))
    pictures = labeled_pictures(data)
    named = with_names(pictures, read_names(data / "names.json", [picture.label for picture in pictures]))
    assert {picture.label for picture in named} == {"red", "blue"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"red": "x"}, "has no field 'blue'"),
        ({"red": "x", "blue": "x"}, "names 'red' and 'blue' alike, 'x'"),
        ({"red": 1, "blue": "x"}, "the field 'red' of .* must be a text"),
        (["red"], "must be an object"),
    ],
)
def test_wrong_names_are_told(data, names, message):
    (data / "names.json").write_text(json.dumps(names))
    with pytest.raises(InputError, match=message):
        read_names(data / "names.json", ["red", "blue"])


def test_damaged_pictures_are_reported_and_unknown_labels_refused(data):
    (data / "red" / "1.png").write_text("no picture")
    pictures = labeled_pictures(data)
    report = evaluate_classify(pictures, zero_shot(pictures), ColorEmbedder())
    assert report.counts["pictures"] == 3 and report.failed[0].source.endswith("1.png")
    with pytest.raises(InputError, match="does not know the label 'blue'; it knows green, red"):
        evaluate_classify(pictures, ZeroShotClassifier(ColorEmbedder(), ["green", "red"]), ColorEmbedder())


def test_the_tiny_model_tells_drawn_things(streets):
    from florence_rag.loading.model_factory import open_embedder

    pictures, embedder = labeled_pictures(streets / "classes"), open_embedder("florence-tiny")
    labels = sorted({picture.label for picture in pictures})
    report = evaluate_classify(pictures, ZeroShotClassifier(embedder, labels), embedder)
    assert report["top-1"].value > 0.7 and report["top-5"].value > 0.9 and len(labels) == 9
