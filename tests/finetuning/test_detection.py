import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from florence_rag.datasets.coco import find_coco_files
from florence_rag.errors import InputError
from florence_rag.finetuning.detection import (
    BoxedImage,
    DetectorTask,
    average_precision,
    collate_boxes,
    crop_boxed_image,
    detection_metrics,
    open_or_build_detector,
    read_boxes,
)
from florence_rag.finetuning.settings import Settings
from florence_rag.finetuning.trainer import fine_tune
from florence_rag.models.registry import find_model
from florence_rag.perception.detector import DyHeadDetector
from recipes.florence_tiny.synthetic.drawing import draw_scene, object_boxes
from recipes.florence_tiny.synthetic.scene import Scene, SceneObject

QUICK = Settings(steps=2, batch=4, checks=1, validation=0.2)


def coco(images=(), annotations=(), categories=({"id": 1, "name": "square"},)):
    return {"images": list(images), "annotations": list(annotations), "categories": list(categories)}


def coco_image(number=1, **changes):
    return {"id": number, "file_name": f"{number}.png", "width": 32, "height": 32, **changes}


def coco_box(number=1, of=(2, 4, 8, 8), **changes):
    return {"image_id": number, "category_id": 1, "bbox": list(of), **changes}


@pytest.fixture
def data(tmp_path):
    """Ten black images with a red square each, and one with nothing in it."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    rng, rows, found = np.random.default_rng(0), [], []
    for number in range(11):
        image = Image.new("RGB", (32, 32), "black")
        rows.append(coco_image(number))
        if number:
            x, y = rng.integers(0, 16, 2).tolist()
            ImageDraw.Draw(image).rectangle((x, y, x + 15, y + 15), fill="red")
            found.append(coco_box(number, (x, y, 16, 16)))
        image.save(folder / "images" / f"{number}.png")
    (folder / "instances.json").write_text(json.dumps(coco(rows, found)))
    return folder


def test_a_detector_learns_and_opens_by_name(start, data, tmp_path):
    out = tmp_path / "mine"
    settings = replace(QUICK, steps=40, batch=8, checks=4, learning_rate=3e-3)
    result = fine_tune(DetectorTask(find_coco_files(data)), out, start / "florence", name="small", settings=settings)
    assert (result.examples, result.validation) == (9, 2)
    assert set(result.after) == {"AP50"} and result.after["AP50"] > result.before["AP50"]
    detector = DyHeadDetector.from_pretrained(find_model(str(out), "detect").detector, name="mine")
    assert detector.labels == ("square",)
    assert "1: square" in (out / "detector" / "README.md").read_text("utf-8")
    resumed = open_or_build_detector(out / "detector", start / "florence", ["square"])
    saved = load_file(out / "detector" / "model.safetensors")
    torch.testing.assert_close(resumed.class_head.weight.cpu(), saved["class_head.weight"])
    assert open_or_build_detector(out / "detector", start / "florence", ["a", "b"]).config.id2label == {0: "a", 1: "b"}


def test_missing_images_are_reported(start, data, tmp_path):
    (data / "images" / "3.png").unlink()
    result = fine_tune(DetectorTask(find_coco_files(data)), tmp_path / "m", start / "florence", settings=QUICK)
    (failure,) = result.failed
    assert failure.source.endswith("3.png") and result.examples + result.validation == 10


def test_boxes_are_clipped_and_those_outside_are_skipped(tmp_path):
    path = tmp_path / "a.json"
    boxes = [{"of": (-4, 20, 10, 40)}, {"of": (40, 0, 5, 5)}, {"of": (0, 0, 0, 9)}, {"iscrowd": 1}]
    boxes = [coco_box(**each) for each in boxes]
    path.write_text(json.dumps(coco([coco_image(), coco_image(2)], boxes)))
    one, two = read_boxes(find_coco_files(path))
    assert one.boxes == [(0, 20, 6, 32)] and one.labels == ["square"] and one.skipped == 3
    assert two.boxes == [] and one.path == tmp_path / "1.png"


def test_a_data_set_needs_a_usable_box(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(coco([coco_image()], [coco_box(of=(0, 0, 0, 9))])))
    with pytest.raises(InputError, match="no usable box"):
        read_boxes(find_coco_files(tmp_path))


def test_files_with_val_in_their_names_validate(tmp_path):
    for name in ("val", "train"):
        (tmp_path / f"{name}.json").write_text(json.dumps(coco([coco_image()], [coco_box()])))
    assert [each.split for each in read_boxes(find_coco_files(tmp_path))] == ["train", "val"]


def test_a_crop_keeps_the_boxes_that_are_visible_in_it() -> None:
    scene = Scene((SceneObject("car", "red", "large", 0), SceneObject("tree", "green", "large", 4)))
    whole = BoxedImage(draw_scene(scene), np.array(object_boxes(scene), dtype=np.float32), np.array([0, 5]))
    part = crop_boxed_image(whole, (0.0, 0.0, 0.5, 1.0))
    assert part.classes.tolist() == [0]
    np.testing.assert_allclose(part.boxes[0, ::2], np.clip(whole.boxes[0, ::2] * 2, 0, 1), atol=1e-6)
    np.testing.assert_allclose(part.boxes[0, 1::2], whole.boxes[0, 1::2], atol=1e-6)
    assert part.image.size == whole.image.size


def test_average_precision_of_known_cases():
    assert average_precision([(0.9, True), (0.8, True)], 2) == 1.0
    assert average_precision([(0.9, False), (0.8, True)], 2) == 0.25
    assert average_precision([], 3) == 0.0


def test_each_object_is_found_once():
    """The second of two boxes on one object is wrong, but comes after all right ones."""
    square = BoxedImage(Image.new("RGB", (32, 32)), np.array([[0, 0, 0.5, 0.5]], np.float32), np.array([0]))

    class FixedDetector(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, pixel_values):
            big, off = [9.0], [-9.0]
            return SimpleNamespace(
                logits=torch.tensor([[big, big, off]]),
                center_logits=torch.tensor([[9.0, 8.0, -9.0]]),
                boxes=torch.tensor([[[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0, 1, 1]]]),
            )

    processor = lambda images: {"pixel_values": torch.zeros(len(images), 3, 32, 32)}  # noqa: E731
    assert detection_metrics(FixedDetector(), partial(collate_boxes, processor), [square]) == {"AP50": 1.0}
