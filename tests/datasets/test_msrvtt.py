import csv
import json

import pytest

from florence_rag.datasets.videos import CaptionedVideo, is_video_list, read_msrvtt
from florence_rag.errors import InputError

A = ("a", "test")


def listing(videos, sentences):
    return {
        "videos": [{"video_id": name, "split": split} for name, split in videos],
        "sentences": [{"video_id": name, "caption": text} for name, text in sentences],
    }


def test_the_1k_a_list_has_one_caption_for_each_video(tmp_path):
    with (tmp_path / "list.csv").open("w", newline="") as file:
        rows = [("ret0", "msr0", "video0", "red"), ("ret1", "msr1", "video1", "blue, dark")]
        csv.writer(file).writerows([("key", "vid_key", "video_id", "sentence"), *rows])
    expected = [CaptionedVideo("video0", ("red",)), CaptionedVideo("video1", ("blue, dark",))]
    assert read_msrvtt(tmp_path / "list.csv") == expected
    assert is_video_list(tmp_path / "list.csv") and not is_video_list(tmp_path / "list.json")


def test_a_split_has_all_captions(tmp_path):
    videos = [("video0", "test"), ("video1", "test"), ("video9", "train")]
    sentences = [("video0", "red"), ("video1", "blue"), ("video9", "white"), ("video0", "red and blue")]
    (tmp_path / "list.json").write_text(json.dumps(listing(videos, sentences)))
    listed = read_msrvtt(tmp_path / "list.json")
    assert listed == [CaptionedVideo("video0", ("red", "red and blue")), CaptionedVideo("video1", ("blue",))]
    assert read_msrvtt(tmp_path / "list.json", split="train") == [CaptionedVideo("video9", ("white",))]
    assert read_msrvtt(tmp_path / "list.json", captions=1)[0].captions == ("red",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "it must be an object with the field 'videos'"),
        ({"videos": []}, "the field 'videos' of the file .* is empty"),
        ({"videos": [{"video_id": "a"}]}, r"videos\[0\] of .* has no field 'split'"),
        ({"videos": [{"video_id": 7, "split": "test"}]}, "the field 'video_id' of .* is 7; it must be a string"),
        (listing([A, A], []), "two of the 'videos' of .* have the same 'video_id'"),
        (listing([("a", "train")], [("a", "x")]), "has no split 'test'; it has train"),
        (listing([A], []), "the field 'sentences' of the file .* is empty"),
        ({**listing([A], []), "sentences": [{"video_id": "a"}]}, r"sentences\[0\] of .* has no field 'caption'"),
        (listing([A], [("b", "x")]), r"'video_id' of sentences\[0\] of .* is 'b', which the file does not describe"),
        (listing([A], [("a", " ")]), r"the field 'caption' of sentences\[0\] of .* is empty"),
        (listing([A, ("b", "test")], [("a", "x")]), "have no caption of the video 'b'"),
    ],
)
def test_an_error_names_the_wrong_field_of_the_json_file(tmp_path, content, message):
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
def test_an_error_names_the_wrong_column_of_the_list(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_msrvtt(tmp_path / "list.csv")
