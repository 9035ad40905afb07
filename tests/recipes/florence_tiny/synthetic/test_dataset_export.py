import json

import pytest
from PIL import Image

from recipes.florence_tiny.synthetic.dataset_export import export_datasets, file_name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    export_datasets(folder, 9)
    return folder


def test_all_files_list_the_drawn_images(folder):
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert names == [file_name(number) for number in range(1, 10)]
    content = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert [image["filename"] for image in content["captions"]["images"]] == names
    assert [image["file_name"] for image in content["instances"]["images"]] == names
    assert {question["image_id"] for question in content["questions"]["questions"]} == set(range(1, 10))
    ids = [[each["question_id"] for each in content[name][name]] for name in ("questions", "annotations")]
    assert ids[0] == ids[1] and len(set(ids[0])) == 45
    assert {len(each["answers"]) for each in content["annotations"]["annotations"]} == {10}


def test_boxes_are_inside_their_images(folder):
    content = json.loads((folder / "instances.json").read_text())
    with Image.open(folder / "images" / file_name(1)) as image:
        assert image.size == (content["images"][0]["width"], content["images"][0]["height"])
    for annotation in content["annotations"]:
        left, top, width, height = annotation["bbox"]
        assert -1 <= left < left + width <= 641 and -1 <= top < top + height <= 481 and annotation["id"] > 0


def test_videos_are_listed_as_msr_vtt_lists_them(folder):
    names = sorted(path.stem for path in (folder / "videos").iterdir())
    content = json.loads((folder / "msrvtt.json").read_text())
    assert names == [video["video_id"] for video in content["videos"]] == ["video0", "video1", "video2"]
    assert [sentence["video_id"] for sentence in content["sentences"]] == [name for name in names for _ in range(20)]
    rows = (folder / "msrvtt.csv").read_text().splitlines()
    assert rows[0] == "key,vid_key,video_id,sentence" and len(rows) == 4


def test_each_class_has_a_folder_and_drawing_again_gives_the_same(folder, tmp_path):
    assert len(list((folder / "classes").iterdir())) == len(list((folder / "classes").rglob("*.jpg"))) == 9
    export_datasets(tmp_path, 9)
    for path in folder.rglob("*.*"):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes()
