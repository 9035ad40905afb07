from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from florence_rag.finetuning.average_precision import average_precision
from florence_rag.finetuning.boxed_images import BoxedImage
from florence_rag.finetuning.detection import detection_metrics


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
    assert detection_metrics(FixedDetector(), processor, [square]) == {"AP50": 1.0}
