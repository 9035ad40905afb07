import pytest

from florence_rag.datasets.media_files import check_labels_agree, class_folders, image_paths, videos_by_name
from florence_rag.errors import InputError


def touch(top, *names):
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()


def test_each_folder_is_a_class_and_may_have_folders(tmp_path):
    names = ("dog/a.jpg", "dog/more/b.PNG", "cat/c.webp", "cat/.hidden.jpg", "cat/notes.txt", ".git/d.jpg", "e.jpg")
    touch(tmp_path, *names)
    found = [(path.name, label) for path, label in class_folders(tmp_path, "image")]
    assert found == [("c.webp", "cat"), ("a.jpg", "dog"), ("b.PNG", "dog")]


def test_one_file_has_one_label(tmp_path):
    pairs = [(tmp_path / "a.png", "cat"), (tmp_path / "b.png", "dog"), (tmp_path / "a.png", "cat")]
    check_labels_agree(pairs, "data")
    with pytest.raises(InputError, match=r"'data' labels .*a\.png' both 'cat' and 'dog'"):
        check_labels_agree([*pairs, (tmp_path / "a.png", "dog")], "data")


def test_images_are_found_by_number_and_by_name(tmp_path):
    touch(tmp_path, "val2014/COCO_val2014_000000000042.jpg", "more/kitchen.png", "more/notes.txt")
    ids = [42, "42", "kitchen", "kitchen.png", "more/kitchen.png", 43, "notes.txt"]
    found, failed = image_paths(ids, tmp_path)
    assert found[42] == found["42"] == tmp_path / "val2014" / "COCO_val2014_000000000042.jpg"
    assert {found[id] for id in ids[2:5]} == {tmp_path / "more" / "kitchen.png"}
    assert [failure.source for failure in failed.values()] == ["image 43", "image notes.txt"]
    assert "has the name or number 43" in failed[43].reason


def test_two_images_with_one_number_are_an_error(tmp_path):
    touch(tmp_path, "COCO_7.png", "thumbs/7.png", "8.png")
    assert image_paths([8], tmp_path) == ({8: tmp_path / "8.png"}, {})
    with pytest.raises(InputError, match="are both image 7"):
        image_paths([7], tmp_path)
    with pytest.raises(InputError, match="is not a folder; give the folder of the images with --images"):
        image_paths([7], tmp_path / "gone")


def test_videos_are_found_by_name_at_any_depth(tmp_path):
    touch(tmp_path, "more/a.mp4", "b.jpg")
    assert videos_by_name(tmp_path) == {"a": tmp_path / "more" / "a.mp4"}
    with pytest.raises(InputError, match="is not a folder; give the folder of the videos with --videos"):
        videos_by_name(tmp_path / "gone")
