import csv
import json

import pytest
from PIL import Image

from florence_rag.chunking.video import video_duration_s
from florence_rag.datasets.media_files import videos_by_name
from florence_rag.datasets.videos import CaptionedVideo, read_msrvtt
from florence_rag.errors import InputError
from florence_rag.evaluation.retrieval import evaluate_video_retrieval, even_frames
from florence_rag.testing import ColorEmbedder, color_frame
from recipes.florence_tiny.synthetic.clips import write_mp4


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
def data(tmp_path):
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


def test_metrics_of_the_1k_a_list(data):
    listed, videos = read_msrvtt(data / "list.csv"), videos_by_name(data / "videos")
    report = evaluate_video_retrieval(listed, videos, ColorEmbedder(), frames=3)
    assert report.counts == {"videos": 3, "captions": 3, "frames per video": 3} and not report.failed
    assert all(metric.value == 1 for metric in report.metrics) and len(report.metrics) == 8
    assert [published["value"] for published in report.to_dict()["florence_percent"]] == [37.6]


def test_metrics_of_all_captions_of_a_split(data):
    listed = read_msrvtt(data / "list.json")
    assert listed[0] == CaptionedVideo("video0", ("red", "red and blue")) and len(listed) == 3
    assert read_msrvtt(data / "list.json", split="train") == [CaptionedVideo("video9", ("white",))]
    assert read_msrvtt(data / "list.json", captions=1)[0].captions == ("red",)
    report = evaluate_video_retrieval(listed, videos_by_name(data / "videos"), ColorEmbedder())
    assert report["text to video R@1"].value == pytest.approx(4 / 5)  # the second caption of video1 is of another
    assert report["video to text R@1"].value == 1 and report["text to video median rank"].text()[0] == "1"


def test_even_frames_cover_the_whole_video(data):
    path = data / "videos" / "more" / "video0.mp4"
    assert video_duration_s(str(path)) == pytest.approx(1.5)
    frames = even_frames(path, 3)
    assert [frame.mean(axis=(0, 1)).argmax() for frame in frames] == [0, 0, 2]
    assert len(even_frames(path, 40)) == 40  # more than the video has


def test_the_frames_of_a_stream_without_a_length_are_counted(tmp_path, monkeypatch):
    from florence_rag.chunking.video import Video

    write_video(tmp_path / "a.mp4", "red", "blue")
    monkeypatch.setattr(Video, "metadata", lambda self: {})
    assert video_duration_s(str(tmp_path / "a.mp4")) == pytest.approx(1.0)


def test_missing_and_damaged_videos_are_reported_and_their_captions_do_not_count(data):
    (data / "videos" / "more" / "video1.mp4").unlink()
    (data / "videos" / "more" / "video2.mp4").write_bytes(b"no video")
    report = evaluate_video_retrieval(read_msrvtt(data / "list.json"), videos_by_name(data / "videos"), ColorEmbedder())
    assert report.counts["videos"] == 1 and report.counts["captions"] == 2
    assert [failure.source for failure in report.failed] == ["video1", "video2"]
    assert "there is no such video" in report.failed[0].reason and "is not a video" in report.failed[1].reason
    (data / "videos" / "more" / "video0.mp4").unlink()
    with pytest.raises(InputError, match="none of the videos can be read: video0: there is no such video"):
        evaluate_video_retrieval(read_msrvtt(data / "list.json"), videos_by_name(data / "videos"), ColorEmbedder())
