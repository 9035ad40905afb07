import csv
import json

import pytest
from PIL import Image

from florence_rag.chunking.frame_sampling import length_s
from florence_rag.errors import InputError
from florence_rag.evaluation.msrvtt import CaptionedVideo, evaluate_videos, even_frames, read_msrvtt
from florence_rag.evaluation.videos import Videos
from florence_rag.testing import ColorEmbedder, color_frame
from florence_rag.training.world.clips import write_frames


def film(path, *colors):
    """Half a second of each colour."""
    pictures = [Image.fromarray(color_frame(color, size_px=64)) for color in colors for _ in range(4)]
    write_frames(path, pictures, 8, (64, 64))


def listing(videos, sentences):
    return {
        "videos": [{"video_id": name, "split": split} for name, split in videos],
        "sentences": [{"video_id": name, "caption": text} for name, text in sentences],
    }


@pytest.fixture
def data(tmp_path):
    """Three videos that are mostly of one colour, listed both ways, and one of another split."""
    colors = {
        "video0": ("red", "red", "blue"),
        "video1": ("blue", "green", "blue"),
        "video2": ("green", "green", "red"),
    }
    (tmp_path / "videos" / "more").mkdir(parents=True)
    for name, shown in colors.items():
        film(tmp_path / "videos" / "more" / f"{name}.mp4", *shown)
    captions = {"video0": "red", "video1": "blue", "video2": "green"}
    with (tmp_path / "list.csv").open("w", newline="") as file:
        rows = [(f"ret{i}", f"msr{i}", *each) for i, each in enumerate(captions.items())]
        csv.writer(file).writerows([("key", "vid_key", "video_id", "sentence"), *rows])
    videos = [*((name, "test") for name in captions), ("video9", "train")]
    sentences = [*captions.items(), ("video9", "white"), ("video0", "red and blue"), ("video1", "red")]
    (tmp_path / "list.json").write_text(json.dumps(listing(videos, sentences)))
    return tmp_path


def test_one_caption_each_as_in_the_list_of_1k(data):
    report = evaluate_videos(read_msrvtt(data / "list.csv"), Videos(data / "videos"), ColorEmbedder(), frames=3)
    assert report.counts == {"videos": 3, "captions": 3, "frames a video": 3} and not report.failed
    assert all(figure.value == 1 for figure in report.figures) and len(report.figures) == 8
    assert [published["value"] for published in report.to_dict()["florence_percent"]] == [37.6]


def test_all_captions_of_a_split(data):
    listed = read_msrvtt(data / "list.json")
    assert listed[0] == CaptionedVideo("video0", ("red", "red and blue")) and len(listed) == 3
    assert read_msrvtt(data / "list.json", split="train") == [CaptionedVideo("video9", ("white",))]
    assert read_msrvtt(data / "list.json", captions=1)[0].captions == ("red",)
    report = evaluate_videos(listed, Videos(data / "videos"), ColorEmbedder())
    assert report["text to video R@1"].value == pytest.approx(4 / 5)  # the second caption of video1 is of another
    assert report["video to text R@1"].value == 1 and report["text to video median rank"].text()[0] == "1"


def test_the_frames_are_of_the_whole_video_at_even_times(data):
    path = data / "videos" / "more" / "video0.mp4"
    assert length_s(str(path)) == pytest.approx(1.5)
    frames = even_frames(path, 3)
    assert [frame.mean(axis=(0, 1)).argmax() for frame in frames] == [0, 0, 2]
    assert len(even_frames(path, 40)) == 40  # more than there are


def test_a_stream_that_does_not_know_its_length_is_counted(tmp_path, monkeypatch):
    from florence_rag.chunking.video import Video

    film(tmp_path / "a.mp4", "red", "blue")
    monkeypatch.setattr(Video, "metadata", lambda self: {})
    assert length_s(str(tmp_path / "a.mp4")) == pytest.approx(1.0)


def test_missing_and_damaged_videos_are_reported_with_their_captions_left_out(data):
    (data / "videos" / "more" / "video1.mp4").unlink()
    (data / "videos" / "more" / "video2.mp4").write_bytes(b"no video")
    report = evaluate_videos(read_msrvtt(data / "list.json"), Videos(data / "videos"), ColorEmbedder())
    assert report.counts["videos"] == 1 and report.counts["captions"] == 2
    assert [failure.source for failure in report.failed] == ["video1", "video2"]
    assert "there is no such video" in report.failed[0].reason and "is not a video" in report.failed[1].reason
    (data / "videos" / "more" / "video0.mp4").unlink()
    with pytest.raises(InputError, match="none of the videos can be read: video0: there is no such video"):
        evaluate_videos(read_msrvtt(data / "list.json"), Videos(data / "videos"), ColorEmbedder())


A = ("a", "test")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "it must be an object with the field 'videos'"),
        ({"videos": []}, "the field 'videos' of the file .* is empty"),
        ({"videos": [{"video_id": "a"}]}, r"videos\[0\] of .* has no field 'split'"),
        ({"videos": [{"video_id": 7, "split": "test"}]}, "the field 'video_id' of .* is 7; it must be a text"),
        (listing([A, A], []), "two of the 'videos' of .* have the same 'video_id'"),
        (listing([("a", "train")], [("a", "x")]), "has no split 'test'; it has train"),
        (listing([A], []), "the field 'sentences' of the file .* is empty"),
        ({**listing([A], []), "sentences": [{"video_id": "a"}]}, r"sentences\[0\] of .* has no field 'caption'"),
        (listing([A], [("b", "x")]), r"'video_id' of sentences\[0\] of .* is 'b', which the file does not describe"),
        (listing([A], [("a", " ")]), r"the field 'caption' of sentences\[0\] of .* is empty"),
        (listing([A, ("b", "test")], [("a", "x")]), "have no caption of the video 'b'"),
    ],
)
def test_the_field_of_the_json_that_is_wrong_is_named(tmp_path, content, message):
    (tmp_path / "list.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_msrvtt(tmp_path / "list.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id,sentence\n", "lists nothing; its columns must be video_id, sentence"),
        ("key,video_id\nret0,a\n", "has no column 'sentence'"),
        ("video_id,sentence\na,x\nb,\n", "the field 'sentence' of row 3 of .* is empty"),
    ],
)
def test_the_column_of_the_list_that_is_wrong_is_named(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_msrvtt(tmp_path / "list.csv")
