from functools import partial

import numpy as np
import pytest
import torch

from florence_rag.finetuning.detection import build_detector, collate_boxes
from florence_rag.models.processing import DetectionImageProcessor
from florence_rag.models.registry import find_model
from recipes.florence_tiny.recipe_trainer import train
from recipes.florence_tiny.synthetic.drawing import draw_scene, object_boxes
from recipes.florence_tiny.synthetic.scene import CATEGORIES, Scene, SceneObject
from recipes.florence_tiny.train_detector import LABELS, SceneBoxDataset


def processor() -> DetectionImageProcessor:
    return DetectionImageProcessor(size=112, fit="squash", enlarge=1.0)


def test_scenes_come_with_their_boxes_and_are_always_the_same() -> None:
    data = SceneBoxDataset(30)
    for index in range(len(data)):
        one, again = data[index], data[index]
        assert len(one.boxes) == len(one.classes)
        assert (
            (one.boxes[:, :2] < one.boxes[:, 2:]).all()
            and one.boxes.min(initial=0) >= 0
            and one.boxes.max(initial=0) <= 1
        )
        assert np.array_equal(one.boxes, again.boxes) and one.image.tobytes() == again.image.tobytes()


def test_batches_fit_the_network() -> None:
    model = build_detector(find_model("florence-tiny").florence, LABELS, channels=16)
    assert tuple(model.config.id2label.values()) == LABELS
    batch = collate_boxes(processor(), [SceneBoxDataset(2)[i] for i in range(2)])
    assert batch["pixel_values"].shape == (2, 3, 112, 112)
    assert model(**batch).loss.isfinite()


def test_training_resumes_from_its_checkpoint(tmp_path) -> None:
    model = build_detector(find_model("florence-tiny").florence, LABELS, channels=16)
    before = model.class_head.weight.detach().clone()
    how = {"batch": 2, "learning_rate": 1e-3, "seed": 0}
    train(model, SceneBoxDataset(4), partial(collate_boxes, processor()), tmp_path / "run", steps=2, **how)
    learned = model.class_head.weight.detach().clone()
    assert not torch.equal(before, learned)
    other = build_detector(find_model("florence-tiny").florence, LABELS, channels=16)
    train(other, SceneBoxDataset(4), partial(collate_boxes, processor()), tmp_path / "run", steps=2, **how)
    torch.testing.assert_close(other.class_head.weight, learned)


@pytest.mark.parametrize("name", CATEGORIES)
@pytest.mark.parametrize("size", ["small", "large"])
def test_boxes_fit_their_objects(name, size) -> None:
    """The image with an object and the one without it differ only inside the box, except for the shadow below."""
    scene = Scene((SceneObject(name, "red", size, 2),), seed=5)
    with_it, without = (np.asarray(draw_scene(each)).astype(int) for each in (scene, Scene((), seed=5)))
    rows, columns = np.nonzero(np.abs(with_it - without).sum(axis=2) > 60)
    ((left, top, right, bottom),) = object_boxes(scene)
    assert abs(columns.min() / 640 - left) < 0.012 and abs((columns.max() + 1) / 640 - right) < 0.012
    assert abs(rows.min() / 480 - top) < 0.012 and -0.012 < (rows.max() + 1) / 480 - bottom < 0.03
