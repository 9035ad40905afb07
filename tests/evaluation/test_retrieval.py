import csv
import json
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from florence_rag.chunking.video import video_duration_s
from florence_rag.datasets.images import read_captioned_images
from florence_rag.datasets.media_files import videos_by_name
from florence_rag.datasets.videos import CaptionedVideo, read_msrvtt
from florence_rag.errors import InputError
from florence_rag.evaluation.retrieval import (
    evaluate_retrieval,
    evaluate_video_retrieval,
    even_frames,
    first_ranks,
    hit_probability,
    rank_counts,
    recall_at,
)
from florence_rag.testing import ColorEmbedder, color_frame
from recipes.florence_tiny.synthetic.clips import write_mp4


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


def write_video(path, *colors):
    """Write half a second of each color."""
    images = [Image.fromarray(color_frame(color, size_px=64)) for color in colors for _ in range(4)]
    write_mp4(path, images, 8, (64, 64))


def listing(videos, sentences):
    return {
        "videos": [{"video_id": name, "split": split} for name, split in videos],
        "sentences": [{"video_id": name, "caption": text} for name, text in sentences],
    }


@pytest.fixture
def video_data(tmp_path):
    """Three videos that are mostly of one color, in both kinds of list, and one of another split."""
    colors = {
        "video0": ("red", "red", "blue"),
        "video1": ("blue", "green", "blue"),
        "video2": ("green", "green", "red"),
    }
    (tmp_path / "videos" / "more").mkdir(parents=True)
    for name, shown in colors.items():
        write_video(tmp_path / "videos" / "more" / f"{name}.mp4", *shown)
    captions = {"video0": "red", "video1": "blue", "video2": "green"}
    with (tmp_path / "list.csv").open("w", newline="") as file:
        rows = [(f"ret{i}", f"msr{i}", *each) for i, each in enumerate(captions.items())]
        csv.writer(file).writerows([("key", "vid_key", "video_id", "sentence"), *rows])
    videos = [*((name, "test") for name in captions), ("video9", "train")]
    sentences = [*captions.items(), ("video9", "white"), ("video0", "red and blue"), ("video1", "red")]
    (tmp_path / "list.json").write_text(json.dumps(listing(videos, sentences)))
    return tmp_path


def test_metrics_of_the_1k_a_list(video_data):
    listed, videos = read_msrvtt(video_data / "list.csv"), videos_by_name(video_data / "videos")
    report = evaluate_video_retrieval(listed, videos, ColorEmbedder(), frames=3)
    assert report.counts == {"videos": 3, "captions": 3, "frames per video": 3} and not report.failed
    assert all(metric.value == 1 for metric in report.metrics) and len(report.metrics) == 8
    assert [published["value"] for published in report.to_dict()["florence_percent"]] == [37.6]


def test_metrics_of_all_captions_of_a_split(video_data):
    listed = read_msrvtt(video_data / "list.json")
    assert listed[0] == CaptionedVideo("video0", ("red", "red and blue")) and len(listed) == 3
    assert read_msrvtt(video_data / "list.json", split="train") == [CaptionedVideo("video9", ("white",))]
    assert read_msrvtt(video_data / "list.json", captions=1)[0].captions == ("red",)
    report = evaluate_video_retrieval(listed, videos_by_name(video_data / "videos"), ColorEmbedder())
    assert report["text to video R@1"].value == pytest.approx(4 / 5)  # the second caption of video1 is of another
    assert report["video to text R@1"].value == 1 and report["text to video median rank"].text()[0] == "1"


def test_even_frames_cover_the_whole_video(video_data):
    path = video_data / "videos" / "more" / "video0.mp4"
    assert video_duration_s(str(path)) == pytest.approx(1.5)
    frames = even_frames(path, 3)
    assert [frame.mean(axis=(0, 1)).argmax() for frame in frames] == [0, 0, 2]
    assert len(even_frames(path, 40)) == 40  # more than the video has


def test_the_frames_of_a_stream_without_a_length_are_counted(tmp_path, monkeypatch):
    from florence_rag.chunking.video import Video

    write_video(tmp_path / "a.mp4", "red", "blue")
    monkeypatch.setattr(Video, "metadata", lambda self: {})
    assert video_duration_s(str(tmp_path / "a.mp4")) == pytest.approx(1.0)


def test_missing_and_damaged_videos_are_reported_and_their_captions_do_not_count(video_data):
    (video_data / "videos" / "more" / "video1.mp4").unlink()
    (video_data / "videos" / "more" / "video2.mp4").write_bytes(b"no video")
    report = evaluate_video_retrieval(
        read_msrvtt(video_data / "list.json"), videos_by_name(video_data / "videos"), ColorEmbedder()
    )
    assert report.counts["videos"] == 1 and report.counts["captions"] == 2
    assert [failure.source for failure in report.failed] == ["video1", "video2"]
    assert "there is no such video" in report.failed[0].reason and "is not a video" in report.failed[1].reason
    (video_data / "videos" / "more" / "video0.mp4").unlink()
    with pytest.raises(InputError, match="none of the videos can be read: video0: there is no such video"):
        evaluate_video_retrieval(
            read_msrvtt(video_data / "list.json"), videos_by_name(video_data / "videos"), ColorEmbedder()
        )
