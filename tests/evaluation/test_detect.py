import json

import numpy as np
import pytest
from PIL import Image

from florence_rag.datasets.coco import read_coco
from florence_rag.errors import InputError
from florence_rag.evaluation.detect import MIN_CONFIDENCE, evaluate_detect, score
from florence_rag.perception.base import Detection
from florence_rag.testing import color_frame

SIZE = 100


def content():
    """Two images of 100 x 100 pixels; in the first a car and a dog, in the second a car."""
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
    """A Detector that returns fixed detections for red and for blue images."""

    def __init__(self, red, blue):
        self.detections = {0: red, 2: blue}

    def detect(self, frames):
        return [self.detections[int(np.argmax(frame.mean(axis=(0, 1))))] for frame in frames]


CAR = Detection("car", (0.1, 0.1, 0.5, 0.5), 0.9)
DOG = Detection("dog", (0.6, 0.6, 0.8, 0.8), 0.8)
OTHER_CAR = Detection("car", (0.0, 0.0, 0.5, 0.5))


def test_a_perfect_detector_has_an_ap_of_one(tmp_path):
    report = evaluate_detect(read_coco(written(tmp_path, content())), Scripted([CAR, DOG], [OTHER_CAR]), "scripted")
    assert report.counts == {"images": 2, "boxes": 3, "categories": 2}
    assert report["AP"].value == pytest.approx(1) and (report["AP"].low, report["AP"].high) == pytest.approx((1, 1))
    assert report["AP50"].value == pytest.approx(1) and report["AR, 100 boxes"].low is None
    assert "AP, large" not in [metric.name for metric in report.metrics] and report.notes == ()


def test_half_of_the_categories_gives_an_ap50_of_half(tmp_path):
    report = evaluate_detect(read_coco(written(tmp_path, content())), Scripted([CAR], [OTHER_CAR]), "scripted")
    assert report["AP50"].value == pytest.approx(0.5)


def test_an_inexact_box_counts_at_low_thresholds_only(tmp_path):
    inexact = Detection("dog", (0.6, 0.6, 0.8, 0.728), 0.9)  # IoU 0.64
    data = content()
    data["annotations"] = data["annotations"][1:2]
    report = evaluate_detect(read_coco(written(tmp_path, data)), Scripted([inexact], []), "scripted")
    assert report["AP50"].value == pytest.approx(1) and report["AP75"].value == 0
    assert report["AP"].value == pytest.approx(0.3)  # 0.50, 0.55 and 0.60 of the ten thresholds


def test_an_ap_without_detections_is_zero(tmp_path):
    report = evaluate_detect(read_coco(written(tmp_path, content())), Scripted([], []), "scripted")
    assert report["AP"].value == 0 and report["AP"].high == 0


def test_unknown_labels_are_reported(tmp_path):
    ghost = Detection("ghost", (0.0, 0.0, 1.0, 1.0), 1.0)
    report = evaluate_detect(
        read_coco(written(tmp_path, content())), Scripted([CAR, DOG, ghost], [OTHER_CAR]), "scripted"
    )
    assert report["AP"].value == pytest.approx(1) and "no category for ghost" in report.notes[0]


def test_intervals_contain_the_value_and_come_from_resampled_images(tmp_path):
    data = read_coco(written(tmp_path, content()))
    rows = [{"image_id": 1, "category_id": 5, "bbox": [10, 10, 40, 40], "score": 0.9}]
    metrics = {metric.name: metric for metric in score(data, rows)}
    # With the second image alone nothing is right; with the first alone the car is, and half of the categories.
    assert (metrics["AP50"].low, metrics["AP50"].high) == pytest.approx((0, 0.5))
    assert metrics["AP50"].low <= metrics["AP50"].value <= metrics["AP50"].high


def test_missing_images_and_boxes_outside_are_reported(tmp_path):
    data = content()
    data["annotations"].append({"id": 9, "image_id": 1, "category_id": 6, "bbox": [200, 0, 10, 10]})
    file = written(tmp_path, data)
    (tmp_path / "2.png").unlink()
    report = evaluate_detect(read_coco(file), Scripted([CAR, DOG], []), "scripted")
    assert report.counts["images"] == 1 and report.counts["boxes"] == 2 and report["AP"].value == pytest.approx(1)
    assert [failure.source for failure in report.failed] == ["annotation 9", str(tmp_path / "2.png")]


def test_a_data_set_without_boxes_is_an_error(tmp_path):
    data = content()
    data["annotations"] = data["annotations"][2:]
    file = written(tmp_path, data)
    (tmp_path / "2.png").unlink()
    with pytest.raises(InputError, match="no annotated box"):
        evaluate_detect(read_coco(file), Scripted([], []), "scripted")


def test_the_tiny_model_detects_synthetic_objects(scenes):
    from florence_rag.loading.loaders import DETECTOR
    from florence_rag.loading.model_loader import load_model
    from florence_rag.loading.model_options import ModelOptions

    data = read_coco(scenes / "instances.json", scenes / "images")
    detector = load_model(DETECTOR, "florence-tiny", ModelOptions(detection_threshold=MIN_CONFIDENCE))
    report = evaluate_detect(data, detector, "florence-tiny")
    assert report["AP50"].value > 0.85 and report["AP50"].low <= report["AP50"].value <= report["AP50"].high
