"""Weights from names: the same key, shape and seed give the same numbers on every machine.

The reference checkpoints follow this rule, so that a test needs only their layout and a seed.
"""

import zlib
from collections.abc import Mapping

import numpy as np
import torch

COMPUTED = ("relative_position_index", "attn_mask", "position_ids", "num_batches_tracked")
SMALL_MATRICES = (
    "cross_modal_text_transform.weight",
    "cross_modal_image_transform.weight",
    "mlm_score.transform.dense.weight",
    "vqa_classifier.0.weight",
)
Shape = tuple[int, ...]


def mean_and_deviation(key: str, shape: Shape) -> tuple[float, float]:
    """Return mean and standard deviation of the normal distribution of a tensor, by the first rule that applies."""
    name = key.rpartition(".")[2]
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else shape[0] if shape else 1
    rules = (
        (name == "running_mean", (0.0, 0.1)),
        (name == "logit_scale", (2.6, 0.1)),
        (not shape or (name == "scale" and shape == (1,)), (1.0, 0.1)),
        (name == "weight" and len(shape) == 1, (1.0, 0.2)),
        (name.endswith("bias") and len(shape) == 1, (0.0, 0.1)),
        (name == "relative_position_bias_table", (0.0, 0.5)),
        ("embed" in key or name == "cls_token", (0.0, 0.02)),
        (key.endswith(SMALL_MATRICES) or ("cross_modal" in key and key.endswith(".output.dense.weight")), (0.0, 0.02)),
        (name.endswith("projection"), (0.0, shape[0] ** -0.5 if shape else 1.0)),
    )
    return next((values for applies, values in rules if applies), (0.0, fan_in**-0.5))


def fill_value(key: str, shape: Shape, seed: int) -> np.ndarray:
    draw = np.random.RandomState((zlib.crc32(key.encode()) + seed) % 2**32)
    if key.endswith("running_var"):
        return np.asarray(draw.uniform(0.5, 1.5, size=shape), dtype=np.float32)
    mean, deviation = mean_and_deviation(key, shape)
    return np.asarray(mean + deviation * draw.standard_normal(size=shape), dtype=np.float32)


def fill(shapes: Mapping[str, Shape], seed: int) -> dict[str, torch.Tensor]:
    """Return all weights of a layout, without the buffers that a network computes itself."""
    return {
        key: torch.from_numpy(fill_value(key, tuple(shape), seed))
        for key, shape in shapes.items()
        if not key.endswith(COMPUTED)
    }
