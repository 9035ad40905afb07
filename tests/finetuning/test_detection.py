import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from florence_rag.errors import InputError
from florence_rag.finetuning.coco import find_annotations, read_boxes
from florence_rag.finetuning.detection import _average_precision, detection_figures, starting_detector, train_detector
from florence_rag.finetuning.settings import Settings
from florence_rag.models.registry import find_model
from florence_rag.perception.detector import DyHeadDetector
from florence_rag.training.detector import Picture

QUICK = Settings(steps=2, batch=4, checks=1, validation=0.2)


def coco(images=(), annotations=(), categories=({"id": 1, "name": "square"},)):
    return {"images": list(images), "annotations": list(annotations), "categories": list(categories)}


def image(number=1, **changes):
    return {"id": number, "file_name": f"{number}.png", "width": 32, "height": 32, **changes}


def box(number=1, of=(2, 4, 8, 8), **changes):
    return {"image_id": number, "category_id": 1, "bbox": list(of), **changes}


@pytest.fixture
def data(tmp_path):
    """Ten black pictures with a red square each, and one with nothing in it."""
    folder = tmp_path / "data"
    (folder / "pictures").mkdir(parents=True)
    rng, rows, found = np.random.default_rng(0), [], []
    for number in range(11):
        picture = Image.new("RGB", (32, 32), "black")
        rows.append(image(number))
        if number:
            x, y = rng.integers(0, 16, 2).tolist()
            ImageDraw.Draw(picture).rectangle((x, y, x + 15, y + 15), fill="red")
            found.append(box(number, (x, y, 16, 16)))
        picture.save(folder / "pictures" / f"{number}.png")
    (folder / "instances.json").write_text(json.dumps(coco(rows, found)))
    return folder


def test_a_detector_learns_and_opens_by_name(start, data, tmp_path):
    out = tmp_path / "mine"
    files = find_annotations(data)
    settings = replace(QUICK, steps=40, batch=8, checks=4, learning_rate=3e-3)
    result = train_detector(files, data, out, start / "florence", name="small", settings=settings)
    assert (result.examples, result.validation) == (9, 2)
    assert set(result.after) == {"AP50"} and result.after["AP50"] > result.before["AP50"]
    detector = DyHeadDetector.from_pretrained(find_model(str(out), "detect").detector, name="mine")
    assert detector.labels == ("square",)
    assert "1: square" in (out / "detector" / "README.md").read_text("utf-8")
    going_on = starting_detector(out / "detector", start / "florence", ["square"])
    saved = load_file(out / "detector" / "model.safetensors")
    torch.testing.assert_close(going_on.class_head.weight.cpu(), saved["class_head.weight"])
    assert starting_detector(out / "detector", start / "florence", ["a", "b"]).config.id2label == {0: "a", 1: "b"}


def test_missing_pictures_are_told(start, data, tmp_path):
    (data / "pictures" / "3.png").unlink()
    result = train_detector(find_annotations(data), data, tmp_path / "m", start / "florence", settings=QUICK)
    (failure,) = result.failed
    assert failure.source.endswith("3.png") and result.examples + result.validation == 10


def test_boxes_are_cut_and_what_lies_outside_is_left_away(tmp_path):
    path = tmp_path / "a.json"
    boxes = [box(of=(-4, 20, 10, 40)), box(of=(40, 0, 5, 5)), box(of=(0, 0, 0, 9)), box(iscrowd=1)]
    path.write_text(json.dumps(coco([image(), image(2)], boxes)))
    one, two = read_boxes([path], tmp_path)
    assert one.boxes == [(0, 20, 6, 32)] and one.classes == ["square"] and one.skipped == 3
    assert two.boxes == [] and one.image == tmp_path / "1.png"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "has no list 'images'"),
        ({"images": []}, "has no list 'categories'"),
        (coco([{"id": 1}]), r"images\[0\] of .* has no field 'file_name'"),
        (coco([image(width="wide")]), "the field 'width' of .* is 'wide'"),
        (coco([image()], [box(2)]), r"'image_id' of annotations\[0\] of .* is 2, which is not in the file"),
        (coco([image()], [box(category_id=7)]), "'category_id' .* is 7, which is not in the file"),
        (coco([image()], [box(of=(1, 2, 3))]), "'bbox' .* must be"),
        (coco([image(), image()]), "two of the 'images' of .* have the same 'id'"),
        ({**coco([image()]), "categories": [{"id": 1, "name": " "}]}, r"'name' of categories\[0\] of .* is empty"),
        (coco([image()]), "not one usable box"),
    ],
)
def test_the_wrong_form_is_told_with_the_field(tmp_path, content, message):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_boxes(find_annotations(tmp_path), tmp_path)


def test_there_must_be_a_file(tmp_path):
    with pytest.raises(InputError, match="no file"):
        find_annotations(tmp_path)
    with pytest.raises(InputError, match="give a folder with annotations and pictures, or --annotations"):
        find_annotations(None)


def test_precision_is_counted_as_by_the_book():
    assert _average_precision([(0.9, True), (0.8, True)], 2) == 1.0
    assert _average_precision([(0.9, False), (0.8, True)], 2) == 0.25
    assert _average_precision([], 3) == 0.0


def test_each_thing_is_found_once():
    """Two boxes on one thing: the second is a mistake, which comes too late to count."""
    square = Picture(Image.new("RGB", (32, 32)), np.array([[0, 0, 0.5, 0.5]], np.float32), np.array([0]))

    class Sees(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, pixel_values):
            big, off = [9.0], [-9.0]
            return SimpleNamespace(
                logits=torch.tensor([[big, big, off]]),
                center_logits=torch.tensor([[9.0, 8.0, -9.0]]),
                boxes=torch.tensor([[[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0, 1, 1]]]),
            )

    processor = lambda images: {"pixel_values": torch.zeros(len(images), 3, 32, 32)}  # noqa: E731
    assert detection_figures(Sees(), processor, [square]) == {"AP50": 1.0}
