import json
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.evaluation import retrieval
from florence_rag.evaluation.retrieval import chance, evaluate_retrieval, first_ranks, hits, places, read_karpathy
from florence_rag.testing import ColorEmbedder, color_frame


def entry(name, *captions, **more):
    return {"filename": name, "split": "test", "sentences": [{"raw": text} for text in captions], **more}


@pytest.fixture
def data(tmp_path):
    """Three pictures of a colour each; the caption of the third is about the first."""
    for color in ("red", "blue", "green"):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.png")
    images = [entry("red.png", "red"), entry("blue.png", "blue", "blue blue"), entry("green.png", "red")]
    (tmp_path / "captions.json").write_text(json.dumps({"images": images}))
    return tmp_path / "captions.json"


def test_a_hand_made_case():
    pictures = np.eye(3, 4, dtype=np.float32)
    texts = np.array([[1, 0, 0, 0], [0.6, 0.8, 0, 0], [0.8, 0.6, 0, 0], [0, 0.6, 0.5, 0]], np.float32)
    of_text, of_picture = [0, 1, 1, 2], [0, 1, 2]
    assert hits(places(texts, pictures, of_text, of_picture), (1, 2, 3)).tolist() == [
        [1, 1, 1],
        [1, 1, 1],
        [0, 1, 1],
        [0, 1, 1],
    ]
    assert hits(places(pictures, texts, of_picture, of_text), (1,)).T.tolist() == [[1, 1, 1]]
    assert first_ranks(places(texts, pictures, of_text, of_picture)).tolist() == [1, 1, 2, 2]


@given(st.integers(0, 3), st.integers(1, 3), st.integers(0, 3))
def test_the_chance_is_that_over_all_orders(places, right, wrong):
    orders = list(permutations([True] * right + [False] * wrong))
    assert chance(places, right, wrong) == pytest.approx(np.mean([any(order[:places]) for order in orders]))


@given(st.integers(1, 4), st.integers(0, 4))
def test_the_rank_is_the_mean_over_all_orders(right, wrong):
    orders = permutations([True] * right + [False] * wrong)
    mean = np.mean([order.index(True) + 1 for order in orders])
    assert first_ranks(np.array([[7, right, wrong]])) == pytest.approx([7 + mean])


@given(st.integers(2, 40))
def test_a_model_that_says_the_same_of_everything_gets_what_guessing_gets(count):
    same, own = np.ones((count, 1), np.float32), np.arange(count)
    found = places(same, same, own, own)
    assert hits(found, (1, count)) == pytest.approx(np.tile([1 / count, 1], (count, 1)))
    assert first_ranks(found) == pytest.approx(np.full(count, (count + 1) / 2))


@given(st.integers(0, 2**32 - 1))
def test_hits_never_fall_with_rank_and_do_not_depend_on_blocks(seed):
    rng = np.random.default_rng(seed)
    queries, gallery = rng.standard_normal((7, 3)), rng.standard_normal((9, 3))
    wanted, given_ = rng.integers(3, size=7), np.array([0, 1, 2, *rng.integers(3, size=6)])
    found = hits(places(queries, gallery, wanted, given_))
    assert (np.diff(found, axis=1) >= 0).all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_ROWS", 2)
        assert (hits(places(queries, gallery, wanted, given_)) == found).all()


def test_figures_of_a_data_set(data):
    report = evaluate_retrieval(read_karpathy(data), ColorEmbedder())
    assert report.counts == {"pictures": 3, "captions": 4}
    assert report["text to image R@1"].value == 3 / 4
    # Of the two captions "red" one is of the red picture; to the green one all four are equally far.
    assert report["image to text R@1"].value == pytest.approx((1 / 2 + 1 + 1 / 4) / 3)
    assert report["image to text R@10"].value == 1
    assert report["text to image median rank"].text() == ("1", "1 to 2.5")
    assert report.figures[0].low <= report.figures[0].value <= report.figures[0].high


def test_the_first_five_captions_count(tmp_path):
    images = [entry("a.png", *"abcdefg", filepath="val2014")]
    (tmp_path / "a.json").write_text(json.dumps({"images": images}))
    (picture,) = read_karpathy(tmp_path / "a.json")
    assert picture.captions == tuple("abcde") and picture.path == tmp_path / "val2014" / "a.png"
    assert read_karpathy(tmp_path / "a.json", "elsewhere", captions=2)[0].captions == ("a", "b")


def test_missing_pictures_are_reported_with_their_captions_left_out(data):
    (data.parent / "blue.png").unlink()
    report = evaluate_retrieval(read_karpathy(data), ColorEmbedder())
    assert report.counts == {"pictures": 2, "captions": 2}
    assert [failure.source for failure in report.failed] == [str(data.parent / "blue.png")]
    assert "blue.png" in report.to_dict()["failed"][0]["source"]


def test_no_picture_at_all_is_an_error(data):
    with pytest.raises(InputError, match=r"none of the pictures can be read: .*red\.png"):
        evaluate_retrieval(read_karpathy(data, "elsewhere"), ColorEmbedder())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "it must be an object with the field 'images'"),
        ({"images": {}}, "the field 'images' of the file .* must be a list"),
        ({"images": [{"filename": "a"}]}, r"images\[0\] of .* has no field 'split'"),
        ({"images": [{"split": "test", "filename": "a"}]}, "no field 'sentences'"),
        ({"images": [{"split": "test", "filename": "a", "sentences": [{"text": "x"}]}]}, "has no field 'raw'"),
        ({"images": [entry("a")]}, "has no caption, or an empty one"),
        ({"images": [entry("a", " ")]}, "has no caption, or an empty one"),
        ({"images": [entry(3, "x")]}, "the field 'filename' of .* is 3; it must be a text"),
        ({"images": [{**entry("a", "x"), "split": "val"}]}, "has no split 'test'; it has val"),
    ],
)
def test_the_field_that_is_wrong_is_named(tmp_path, content, message):
    (tmp_path / "captions.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_karpathy(tmp_path / "captions.json")


def test_the_tiny_model_finds_drawn_streets(streets):
    from florence_rag.loading.model_factory import open_embedder

    report = evaluate_retrieval(read_karpathy(streets / "captions.json"), open_embedder("florence-tiny"))
    assert report.counts == {"pictures": 12, "captions": 60}
    assert report["text to image R@1"].value > 0.8 and report["image to text R@5"].value > 0.9
