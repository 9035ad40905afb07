from pathlib import Path

import numpy as np
import pytest
import torch

from florence_rag.errors import InputError, ModelError
from florence_rag.models.dyhead import DyHeadForObjectDetection
from florence_rag.models.processing import DetectionImageProcessor
from florence_rag.perception.base import Detector, Grounder
from florence_rag.perception.detector import DyHeadDetector
from tests.models import tiny


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detector")
    torch.manual_seed(0)
    model = DyHeadForObjectDetection(tiny.detector())
    torch.nn.init.zeros_(model.class_head.bias)  # so that untrained it finds much
    model.save_pretrained(path)
    DetectionImageProcessor(size=32, fit="squash", enlarge=1.0).save_pretrained(path)
    return path


def test_a_detection_has_a_label_a_box_in_the_image_and_a_confidence(folder: Path) -> None:
    detector = DyHeadDetector.from_pretrained(folder, name="tiny", device="cpu", threshold=0.4)
    assert isinstance(detector, Detector) and not isinstance(detector, Grounder)
    found = detector.detect([noise(90, 40)])[0]
    assert found and {region.label for region in found} <= {"cat", "dog", "cow"} == set(detector.labels)
    assert [region.confidence for region in found] == sorted((region.confidence for region in found), reverse=True)
    for region in found:
        left, top, right, bottom = region.box
        assert 0 <= left <= right <= 1 and 0 <= top <= bottom <= 1
        assert region.confidence is not None and 0.4 <= region.confidence <= 1


def test_detections_do_not_depend_on_the_batch(folder: Path) -> None:
    detector = DyHeadDetector.from_pretrained(folder, name="tiny", device="cpu", threshold=0.4)
    frames = [noise(50, 70), noise(64, 64), noise(200, 20)]
    together, alone = detector.detect(frames), [detector.detect([frame])[0] for frame in frames]
    for one, other in zip(together, alone, strict=True):
        assert [region.label for region in one] == [region.label for region in other]
        boxes = ([region.box for region in regions] for regions in (one, other))
        np.testing.assert_allclose(*boxes, atol=1e-4)
    assert detector.detect([]) == []


def test_a_higher_threshold_finds_less(folder: Path) -> None:
    assert DyHeadDetector.from_pretrained(folder, name="tiny", device="cpu", threshold=0.99).detect([noise(9, 9)]) == [
        []
    ]


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_outside_0_to_1_is_refused(folder: Path, threshold: float) -> None:
    with pytest.raises(InputError, match="give a confidence from 0 to 1"):
        DyHeadDetector.from_pretrained(folder, name="tiny", device="cpu", threshold=threshold)


def test_a_folder_without_a_detector_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'mine': .* cannot be opened as a detector: ") as caught:
        DyHeadDetector.from_pretrained(tmp_path, name="mine")
    assert "\n" not in str(caught.value)
