from pathlib import Path

import pytest

from florence_rag.datasets.videos import VideoClip, read_kinetics, read_labeled_videos
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
    with pytest.raises(InputError, match=r"gone\.csv' cannot be read"):
        read_kinetics("gone.csv")
