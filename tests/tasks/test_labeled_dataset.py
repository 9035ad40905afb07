import pytest

from florence_rag.errors import InputError
from florence_rag.tasks.labeled_dataset import labeled_pictures, labeled_videos


def test_each_folder_is_a_class_and_may_have_folders(tmp_path):
    for name in (
        "dog/a.jpg",
        "dog/more/b.PNG",
        "cat/c.webp",
        "cat/.hidden.jpg",
        "cat/notes.txt",
        ".git/d.jpg",
        "e.jpg",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [(path.name, label) for path, label in labeled_pictures(tmp_path)]
    assert found == [("c.webp", "cat"), ("a.jpg", "dog"), ("b.PNG", "dog")]


def test_videos_are_found_in_the_same_way(tmp_path):
    for name in ("waves/a.mp4", "waves/b.jpg", "jumps/c.WEBM"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [(path.name, label) for path, label in labeled_videos(tmp_path)] == [
        ("c.WEBM", "jumps"),
        ("a.mp4", "waves"),
    ]
    (tmp_path / "set.csv").write_text("video,label\na.mp4,waves\n")
    assert labeled_videos(tmp_path / "set.csv") == [(tmp_path / "a.mp4", "waves")]
    with pytest.raises(InputError, match="has no labelled videos"):
        labeled_videos(tmp_path / "waves")


@pytest.mark.parametrize("head", ["", "path,label\n", "\ufeffImage,Class\n"])
def test_a_table_lists_paths_from_its_own_folder(tmp_path, head):
    table = tmp_path / "set.csv"
    table.write_text(f'{head}a.jpg,cat\n\n"deep/b, c.jpg", dog\n/away/d.jpg,cat\n', "utf-8")
    found = [(str(path), label) for path, label in labeled_pictures(table)]
    assert found == [(f"{tmp_path}/a.jpg", "cat"), (f"{tmp_path}/deep/b, c.jpg", "dog"), ("/away/d.jpg", "cat")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a.jpg\n", "row 1"),
        ("path,label\na.jpg,cat\nb.jpg,\n", "row 3"),
        ("", "no labelled pictures"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_bad_table_says_which_row(tmp_path, content, message):
    table = tmp_path / "set.csv"
    table.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=message):
        labeled_pictures(table)


def test_a_picture_is_listed_once_and_of_one_class(tmp_path):
    table = tmp_path / "set.csv"
    table.write_text("a.png,cat\nb.png,dog\na.png,cat\n")
    assert labeled_pictures(table) == [(tmp_path / "a.png", "cat"), (tmp_path / "b.png", "dog")]
    table.write_text("a.png,cat\na.png,dog\n")
    with pytest.raises(InputError, match=r"says of .*a\.png' that it is 'cat', and that it is 'dog'"):
        labeled_pictures(table)


def test_what_is_no_data_set_is_refused(tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(InputError, match="has no labelled pictures; it must be a folder with a folder"):
        labeled_pictures(tmp_path)
    for nothing in (tmp_path / "photo.jpg", tmp_path / "gone"):
        with pytest.raises(InputError, match="is no data set"):
            labeled_pictures(nothing)
