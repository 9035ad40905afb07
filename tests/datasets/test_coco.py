import json

import pytest

from florence_rag.datasets.coco import find_coco_files, read_coco
from florence_rag.errors import InputError


def content():
    """Two images of 100 x 100 pixels; in the first a car and a dog, in the second a car."""
    boxes = [(1, 5, [10, 10, 40, 40]), (1, 6, [60, 60, 20, 20]), (2, 5, [0, 0, 50, 50])]
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 100, "height": 100} for i in (1, 2)],
        "categories": [{"id": 5, "name": "Car"}, {"id": 6, "name": "dog"}],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": box}
            for i, (image, category, box) in enumerate(boxes)
        ],
    }


def written(folder, content, name="instances.json"):
    (folder / name).write_text(json.dumps(content))
    return folder / name


def test_a_file_is_read(tmp_path):
    data = read_coco(written(tmp_path, content()))
    assert [image.path for image in data.images] == [tmp_path / "1.png", tmp_path / "2.png"]
    assert data.categories == {5: "Car", 6: "dog"}
    assert data.boxes[0] == (0, 1, 5, [10, 10, 40, 40], 1600, 0)


def test_optional_fields_are_read_and_ids_may_be_strings(tmp_path):
    data = content()
    data["images"][0]["id"] = data["annotations"][0]["image_id"] = "first"
    data["annotations"] = [{**data["annotations"][0], "area": 7.5, "iscrowd": 1}]
    del data["annotations"][0]["id"]
    (box,) = read_coco(written(tmp_path, data)).boxes
    assert box == (0, "first", 5, [10, 10, 40, 40], 7.5, 1)


def test_an_image_may_lie_anywhere_below_the_folder(tmp_path):
    (tmp_path / "images" / "more").mkdir(parents=True)
    (tmp_path / "images" / "more" / "2.png").touch()
    paths = [image.path for image in read_coco(written(tmp_path, content()), tmp_path / "images").images]
    assert paths == [tmp_path / "images" / "1.png", tmp_path / "images" / "more" / "2.png"]


def test_categories_with_equal_names_are_one(tmp_path):
    data = content()
    data["categories"].insert(0, {"id": 1, "name": "car "})
    data["annotations"][0]["category_id"] = 1
    read = read_coco(written(tmp_path, data))
    assert read.categories == {1: "car ", 6: "dog"} and [box.category_id for box in read.boxes] == [1, 6, 1]


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("images", {"width": 0}, "must be above 0"),
        ("images", {"width": "wide"}, "the field 'width' of .* is 'wide'"),
        ("images", {"height": "9"}, r"'height' of images\[0\] .* is '9'; it must be a number"),
        ("images", {"file_name": 9}, r"'file_name' of images\[0\] .* must be a string"),
        ("images", {"id": 2}, "two of the 'images' of .* have the same 'id'"),
        ("images", {"id": None}, "must be an integer or a string"),
        ("categories", {"name": None}, r"'name' of categories\[0\] .* must be a string"),
        ("categories", {"name": " "}, r"'name' of categories\[0\] .* is empty"),
        ("categories", {"id": 6}, "two of the 'categories' of .* have the same 'id'"),
        ("annotations", {"bbox": [1, 2, 3]}, r"'bbox' of annotations\[0\] .* must be \[left, top, width, height\]"),
        ("annotations", {"bbox": [1, 2, -3, 4]}, "'bbox' of"),
        ("annotations", {"bbox": [1, 2, "3", 4]}, "'bbox' of"),
        ("annotations", {"bbox": [1, 2, float("nan"), 4]}, "'bbox' of"),
        ("annotations", {"image_id": 9}, r"'image_id' of annotations\[0\] .* is 9, which the file does not describe"),
        ("annotations", {"category_id": 9}, "'category_id' of .* is 9"),
        ("annotations", {"area": "big"}, "'area' of .* must be a number"),
    ],
)
def test_an_error_names_the_wrong_field(tmp_path, part, change, message):
    data = content()
    data[part][0].update(change)
    with pytest.raises(InputError, match=message):
        read_coco(written(tmp_path, data))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "must be an object with the field 'images'"),
        ({"images": []}, "'images' of the file .* is empty"),
        ({"images": [{"id": 1, "file_name": "1.png", "width": 1, "height": 1}]}, "has no field 'categories'"),
        ({"images": [{"id": 1}]}, r"images\[0\] of .* has no field 'file_name'"),
    ],
)
def test_an_error_names_the_missing_list_or_field(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_coco(written(tmp_path, content))


def test_a_data_set_is_a_folder_or_a_file(tmp_path):
    for name in ("val.json", "train.json"):
        (tmp_path / name).touch()
    both = (tmp_path / "train.json", tmp_path / "val.json")
    files = find_coco_files(tmp_path)
    assert files == (both, tmp_path) and files.evaluation_file() == both[1]
    assert find_coco_files(both[0]) == (both[:1], tmp_path)
    assert find_coco_files(None, both, tmp_path / "images") == (both, tmp_path / "images")
    (tmp_path / "instances_a.json").touch()
    assert find_coco_files(tmp_path).annotations == (tmp_path / "instances_a.json",)
    (tmp_path / "instances_b.json").touch()
    with pytest.raises(InputError, match=r"several files of annotations, .*; name one with --annotations"):
        find_coco_files(tmp_path).evaluation_file()


def test_there_must_be_a_file(tmp_path):
    with pytest.raises(InputError, match="no file"):
        find_coco_files(tmp_path)
    with pytest.raises(InputError, match="give a folder with annotations and images, or --annotations"):
        find_coco_files(None)
