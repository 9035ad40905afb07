import csv
import json
from pathlib import Path

import pytest

from florence_rag.datasets.videos import (
    CaptionedVideo,
    VideoClip,
    is_video_list,
    read_kinetics,
    read_labeled_videos,
    read_msrvtt,
)
from florence_rag.errors import InputError

HEADER = "label,youtube_id,time_start,time_end,split\n"


def test_a_folder_of_class_folders(tmp_path):
    for name in ("waves/a.mp4", "waves/b.jpg", "jumps/c.WEBM"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [(clip.path.name, clip.label) for clip in read_labeled_videos(tmp_path)] == [
        ("c.WEBM", "jumps"),
        ("a.mp4", "waves"),
    ]
    with pytest.raises(InputError, match="has no labeled videos"):
        read_labeled_videos(tmp_path / "waves")
    with pytest.raises(InputError, match="does not exist"):
        read_labeled_videos(tmp_path / "gone")


def test_a_table_of_paths_and_labels(tmp_path):
    path = tmp_path / "a.mp4"
    for content in ("video,label\na.mp4,waves\n", "a.mp4,waves\n", "path,class\na.mp4,waves\na.mp4,waves\n"):
        (tmp_path / "set.csv").write_text(content)
        assert read_labeled_videos(tmp_path / "set.csv") == [VideoClip(path, "waves", name=str(path))]
    (tmp_path / "set.csv").write_text("a.mp4,waves\na.mp4,jumps\n")
    with pytest.raises(InputError, match=r"labels .*a\.mp4' both 'waves' and 'jumps'"):
        read_labeled_videos(tmp_path / "set.csv")
    (tmp_path / "set.csv").write_text("path,label\na.mp4,\n")
    with pytest.raises(InputError, match=r"row 2 of .* needs a path and a label"):
        read_labeled_videos(tmp_path / "set.csv")


def test_a_kinetics_list_names_parts_of_videos(tmp_path):
    for name in ("a.mp4", "b_000010_000012.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "list.csv").write_text(HEADER + "waves,a,0.5,2,val\njumps,b,10,12,val\njumps,c,0,9,train\n")
    whole, cut, gone = read_labeled_videos(tmp_path / "list.csv")
    assert whole == VideoClip(tmp_path / "a.mp4", "waves", 0.5, 2.0, "val", "a from 0.5 s")
    assert cut == VideoClip(tmp_path / "b_000010_000012.mp4", "jumps", 0.0, 2.0, "val", "b from 10 s")
    assert (gone.path, gone.name) == (Path("c"), "c from 0 s")
    assert read_labeled_videos(tmp_path / "list.csv", split="val") == [whole, cut]


@pytest.mark.parametrize(
    ("text", "split", "message"),
    [
        ("", None, "lists nothing; its columns must be label, youtube_id"),
        ("label,youtube_id,time_start\nx,a,0\n", None, "has no column 'time_end'"),
        ("label,youtube_id,time_start,time_end\nx,a,0,1\n", "val", "has no column 'split'"),
        (HEADER + "x,a,0,1,val\n", "test", "has no split 'test'; it has val"),
        (HEADER + "x,,0,1,val\n", None, "the field 'youtube_id' of row 2 of .* is empty"),
        (HEADER + "x,a,0\n", None, "the field 'time_end' of row 2 of .* is empty"),
        (HEADER + "x,a,zero,1,val\n", None, "'time_start' and 'time_end' of row 2 .* must be seconds"),
        (HEADER + "x,a,2,1,val\n", None, "are 2 and 1; 0 <= start < end"),
        (HEADER + "x,a,nan,1,val\n", None, "0 <= start < end"),
    ],
)
def test_an_error_names_the_wrong_field(tmp_path, text, split, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_kinetics(tmp_path / "list.csv", split=split)


def test_a_missing_list_is_an_error():
    with pytest.raises(InputError, match=r"gone\.csv' cannot be opened"):
        read_kinetics("gone.csv")


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
