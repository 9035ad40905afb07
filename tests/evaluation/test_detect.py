import json

import numpy as np
import pytest
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.evaluation.detect import ALMOST_ALL, evaluate_detect, read_coco, score
from florence_rag.perception.base import Detection
from florence_rag.testing import color_frame

SIZE = 100


def content():
    """Two pictures of 100 x 100 pixels; in the first a car and a dog, in the second a car."""
    boxes = [(1, 5, [10, 10, 40, 40]), (1, 6, [60, 60, 20, 20]), (2, 5, [0, 0, 50, 50])]
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "width": SIZE, "height": SIZE} for i in (1, 2)],
        "categories": [{"id": 5, "name": "Car"}, {"id": 6, "name": "dog"}],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": box}
            for i, (image, category, box) in enumerate(boxes)  # from 0, which COCO's code takes for "not matched"
        ],
    }


def written(folder, content):
    for number, color in ((1, "red"), (2, "blue")):
        Image.fromarray(color_frame(color)).save(folder / f"{number}.png")
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json"


class Scripted:
    """A Detector that says of red and of blue pictures what it was given."""

    def __init__(self, red, blue):
        self.said = {0: red, 2: blue}

    def detect(self, frames):
        return [self.said[int(np.argmax(frame.mean(axis=(0, 1))))] for frame in frames]


CAR = Detection("car", (0.1, 0.1, 0.5, 0.5), 0.9)
DOG = Detection("dog", (0.6, 0.6, 0.8, 0.8), 0.8)
OTHER_CAR = Detection("car", (0.0, 0.0, 0.5, 0.5))


def test_who_finds_everything_has_all(tmp_path):
    report = evaluate_detect(read_coco(written(tmp_path, content())), Scripted([CAR, DOG], [OTHER_CAR]), "scripted")
    assert report.counts == {"pictures": 2, "boxes": 3, "categories": 2}
    assert report["AP"].value == pytest.approx(1) and (report["AP"].low, report["AP"].high) == pytest.approx((1, 1))
    assert report["AP50"].value == pytest.approx(1) and report["AR, 100 boxes"].low is None
    assert "AP, large" not in [figure.name for figure in report.figures] and report.notes == ()


def test_half_of_the_categories_is_half(tmp_path):
    report = evaluate_detect(read_coco(written(tmp_path, content())), Scripted([CAR], [OTHER_CAR]), "scripted")
    assert report["AP50"].value == pytest.approx(0.5)


def test_a_loose_box_counts_at_loose_bounds_only(tmp_path):
    loose = Detection("dog", (0.6, 0.6, 0.8, 0.728), 0.9)  # IoU 0.64
    data = content()
    data["annotations"] = data["annotations"][1:2]
    report = evaluate_detect(read_coco(written(tmp_path, data)), Scripted([loose], []), "scripted")
    assert report["AP50"].value == pytest.approx(1) and report["AP75"].value == 0
    assert report["AP"].value == pytest.approx(0.3)  # 0.50, 0.55 and 0.60 of the ten bounds


def test_nothing_found_is_zero(tmp_path):
    report = evaluate_detect(read_coco(written(tmp_path, content())), Scripted([], []), "scripted")
    assert report["AP"].value == 0 and report["AP"].high == 0


def test_labels_that_the_data_lacks_are_told(tmp_path):
    ghost = Detection("ghost", (0.0, 0.0, 1.0, 1.0), 1.0)
    report = evaluate_detect(
        read_coco(written(tmp_path, content())), Scripted([CAR, DOG, ghost], [OTHER_CAR]), "scripted"
    )
    assert report["AP"].value == pytest.approx(1) and "no category for ghost" in report.notes[0]


def test_intervals_hold_the_value_and_come_from_drawing_pictures(tmp_path):
    data = read_coco(written(tmp_path, content()))
    rows = [{"image_id": 1, "category_id": 5, "bbox": [10, 10, 40, 40], "score": 0.9}]
    figures = {figure.name: figure for figure in score(data, rows)}
    # With the second picture alone nothing is right; with the first alone the car is, and half of the categories.
    assert (figures["AP50"].low, figures["AP50"].high) == pytest.approx((0, 0.5))
    assert figures["AP50"].low <= figures["AP50"].value <= figures["AP50"].high


def test_missing_pictures_and_boxes_outside_are_reported(tmp_path):
    data = content()
    data["annotations"].append({"id": 9, "image_id": 1, "category_id": 6, "bbox": [200, 0, 10, 10]})
    file = written(tmp_path, data)
    (tmp_path / "2.png").unlink()
    report = evaluate_detect(read_coco(file), Scripted([CAR, DOG], []), "scripted")
    assert report.counts["pictures"] == 1 and report.counts["boxes"] == 2 and report["AP"].value == pytest.approx(1)
    assert [failure.source for failure in report.failed] == ["annotation 9", str(tmp_path / "2.png")]


def test_categories_that_are_named_alike_are_one(tmp_path):
    data = content()
    data["categories"].insert(0, {"id": 1, "name": "car "})
    data["annotations"][0]["category_id"] = 1
    read = read_coco(written(tmp_path, data))
    assert read.categories == {1: "car ", 6: "dog"} and [box["category_id"] for box in read.boxes] == [1, 6, 1]
    assert evaluate_detect(read, Scripted([CAR, DOG], [OTHER_CAR]), "scripted")["AP"].value == pytest.approx(1)


def test_nothing_to_find_is_an_error(tmp_path):
    data = content()
    data["annotations"] = data["annotations"][2:]
    file = written(tmp_path, data)
    (tmp_path / "2.png").unlink()
    with pytest.raises(InputError, match="no annotated box"):
        evaluate_detect(read_coco(file), Scripted([], []), "scripted")


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("images", {"width": 0}, "must be above 0"),
        ("images", {"height": "9"}, r"'height' of images\[0\] .* is '9'; it must be a number"),
        ("images", {"id": 2}, "have the same 'id'"),
        ("categories", {"name": None}, r"'name' of categories\[0\] .* must be a text"),
        ("categories", {"name": " "}, r"'name' of categories\[0\] .* is empty"),
        ("categories", {"id": 6}, "two of the 'categories' of .* have the same 'id'"),
        ("annotations", {"bbox": [1, 2, 3]}, r"'bbox' of annotations\[0\] .* must be \[left, top, width, height\]"),
        ("annotations", {"bbox": [1, 2, -3, 4]}, "'bbox' of"),
        ("annotations", {"bbox": [1, 2, "3", 4]}, "'bbox' of"),
        ("annotations", {"bbox": [1, 2, float("nan"), 4]}, "'bbox' of"),
        ("annotations", {"image_id": 9}, "'image_id' of .* is 9, which the file does not describe"),
        ("annotations", {"category_id": 9}, "'category_id' of .* is 9"),
        ("annotations", {"area": "big"}, "'area' of .* must be a number"),
    ],
)
def test_the_field_that_is_wrong_is_named(tmp_path, part, change, message):
    data = content()
    data[part][0].update(change)
    with pytest.raises(InputError, match=message):
        read_coco(written(tmp_path, data))


def test_the_tiny_model_finds_drawn_things(streets):
    from florence_rag.loading.model_factory import open_detector

    data = read_coco(streets / "instances.json", streets / "pictures")
    report = evaluate_detect(data, open_detector("florence-tiny", threshold=ALMOST_ALL), "florence-tiny")
    assert report["AP50"].value > 0.85 and report["AP50"].low <= report["AP50"].value <= report["AP50"].high
