import json
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from florence_rag.datasets.images import read_captioned_images
from florence_rag.errors import InputError
from florence_rag.evaluation.retrieval import evaluate_retrieval, first_ranks, hit_probability, rank_counts, recall_at
from florence_rag.testing import ColorEmbedder, color_frame


def entry(name, *captions, **more):
    return {"filename": name, "split": "test", "sentences": [{"raw": text} for text in captions], **more}


@pytest.fixture
def data(tmp_path):
    """Three images of one color each; the caption of the third describes the first."""
    for color in ("red", "blue", "green"):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.png")
    images = [entry("red.png", "red"), entry("blue.png", "blue", "blue blue"), entry("green.png", "red")]
    (tmp_path / "captions.json").write_text(json.dumps({"images": images}))
    return tmp_path / "captions.json"


def test_a_hand_made_case():
    images = np.eye(3, 4, dtype=np.float32)
    texts = np.array([[1, 0, 0, 0], [0.6, 0.8, 0, 0], [0.8, 0.6, 0, 0], [0, 0.6, 0.5, 0]], np.float32)
    of_text, of_image = [0, 1, 1, 2], [0, 1, 2]
    assert recall_at(rank_counts(texts, images, of_text, of_image), (1, 2, 3)).tolist() == [
        [1, 1, 1],
        [1, 1, 1],
        [0, 1, 1],
        [0, 1, 1],
    ]
    assert recall_at(rank_counts(images, texts, of_image, of_text), (1,)).T.tolist() == [[1, 1, 1]]
    assert first_ranks(rank_counts(texts, images, of_text, of_image)).tolist() == [1, 1, 2, 2]


@given(st.integers(0, 3), st.integers(1, 3), st.integers(0, 3))
def test_the_hit_probability_is_the_share_of_all_orders(draws, right, wrong):
    orders = list(permutations([True] * right + [False] * wrong))
    assert hit_probability(draws, right, wrong) == pytest.approx(np.mean([any(order[:draws]) for order in orders]))


@given(st.integers(1, 4), st.integers(0, 4))
def test_the_rank_is_the_mean_over_all_orders(right, wrong):
    orders = permutations([True] * right + [False] * wrong)
    mean = np.mean([order.index(True) + 1 for order in orders])
    assert first_ranks(np.array([[7, right, wrong]])) == pytest.approx([7 + mean])


@given(st.integers(2, 40))
def test_a_constant_model_scores_as_guessing_does(count):
    same, own = np.ones((count, 1), np.float32), np.arange(count)
    found = rank_counts(same, same, own, own)
    assert recall_at(found, (1, count)) == pytest.approx(np.tile([1 / count, 1], (count, 1)))
    assert first_ranks(found) == pytest.approx(np.full(count, (count + 1) / 2))


@given(st.integers(0, 2**32 - 1))
def test_recall_rises_with_rank_and_does_not_depend_on_blocks(seed):
    rng = np.random.default_rng(seed)
    queries, gallery = rng.standard_normal((7, 3)), rng.standard_normal((9, 3))
    wanted, groups = rng.integers(3, size=7), np.array([0, 1, 2, *rng.integers(3, size=6)])
    found = recall_at(rank_counts(queries, gallery, wanted, groups))
    assert (np.diff(found, axis=1) >= 0).all()
    assert (recall_at(rank_counts(queries, gallery, wanted, groups, block_rows=2)) == found).all()


def test_metrics_of_a_data_set(data):
    report = evaluate_retrieval(read_captioned_images(data), ColorEmbedder())
    assert report.counts == {"images": 3, "captions": 4}
    assert report["text to image R@1"].value == 3 / 4
    # One of the two captions "red" belongs to the red image; all four captions are equally far from the green one.
    assert report["image to text R@1"].value == pytest.approx((1 / 2 + 1 + 1 / 4) / 3)
    assert report["image to text R@10"].value == 1
    assert report["text to image median rank"].text() == ("1", "1 to 2.5")
    assert report.metrics[0].low <= report.metrics[0].value <= report.metrics[0].high


def test_missing_images_are_reported_and_their_captions_do_not_count(data):
    (data.parent / "blue.png").unlink()
    report = evaluate_retrieval(read_captioned_images(data), ColorEmbedder())
    assert report.counts == {"images": 2, "captions": 2}
    assert [failure.source for failure in report.failed] == [str(data.parent / "blue.png")]
    assert "blue.png" in report.to_dict()["failed"][0]["source"]


def test_a_data_set_without_readable_images_is_an_error(data):
    with pytest.raises(InputError, match=r"none of the images can be read: .*red\.png"):
        evaluate_retrieval(read_captioned_images(data, "elsewhere"), ColorEmbedder())


def test_the_tiny_model_retrieves_synthetic_scenes(scenes):
    from florence_rag.loading.loaders import EMBEDDER
    from florence_rag.loading.model_loader import load_model

    report = evaluate_retrieval(read_captioned_images(scenes / "captions.json"), load_model(EMBEDDER, "florence-tiny"))
    assert report.counts == {"images": 12, "captions": 60}
    assert report["text to image R@1"].value > 0.8 and report["image to text R@5"].value > 0.9
