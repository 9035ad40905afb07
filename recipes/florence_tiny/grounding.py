"""Losses that ground words in image regions, which are known for synthetic scenes.

They supervise the first cross-attention of METER, as word-region alignment does in UNITER (arXiv 1909.11740, section
3.2), and require its states to encode the attended position. Answers alone need many times the steps, and do not teach
left and right at all.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from florence_rag.models.meter import MeterOutput
from recipes.florence_tiny.synthetic.canvas import WIDTH
from recipes.florence_tiny.synthetic.drawing import object_centers
from recipes.florence_tiny.synthetic.questions import Question
from recipes.florence_tiny.synthetic.scene import CATEGORIES, COLORS, SLOTS, Scene

OTHER_FORMS = {"bike": "bicycle", "bikes": "bicycle", "people": "person", "buses": "bus"}
SKY = 2 / 7
"""Share of the image, from the top, that shows no object."""
REACH = 0.9
"""Largest distance between the centers of a token and an object, in tokens of a grid of 7."""

NOWHERE = (-1.0, -1.0)


def pair_places(question: Question, scene: Scene) -> tuple[float, float]:
    """Return the positions, 0 (left) to 1, of the two objects of a left-or-right question, or NOWHERE."""
    statement = question.statement
    if question.type != "left-right" or statement is None:
        return NOWHERE
    subject, other = (
        next(obj.slot for obj in scene.objects if obj.category == name and color in (None, obj.color))
        for name, color in statement.descriptions
    )
    return subject / (SLOTS - 1), other / (SLOTS - 1)


class WordRegions:
    """Finds the tokens that name categories and colors, and the image tokens of the objects that they name."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, grid: int) -> None:
        self.grid = grid
        names = {**{name: name for name in (*CATEGORIES, *COLORS)}, **{f"{name}s": name for name in CATEGORIES}}
        ids = {word: tokenizer(word, add_special_tokens=False)["input_ids"] for word in (*names, *OTHER_FORMS)}
        self._meaning = {tokens[0]: {**names, **OTHER_FORMS}[word] for word, tokens in ids.items() if len(tokens) == 1}

    def __call__(self, input_ids: Tensor, about: Sequence[int], scenes: Sequence[Scene]) -> Tensor:
        """Return (T, L, grid^2) bool for input_ids (T, L) and the scene of each text; all false for other words."""
        regions = torch.zeros(*input_ids.shape, self.grid**2, dtype=torch.bool)
        maps = [self._map(scene) for scene in scenes]
        for row, (ids, index) in enumerate(zip(input_ids.tolist(), about, strict=True)):
            for column, token in enumerate(ids):
                region = maps[index].get(self._meaning.get(token, ""))
                if region is not None:
                    regions[row, column] = region
        return regions

    def _map(self, scene: Scene) -> dict[str, Tensor]:
        """Map each category and color to its image tokens."""
        # The drawing shifts objects by a few pixels at random, which is much less than a token.
        centers = object_centers(scene, random.Random(0))
        found: dict[str, Tensor] = {}
        for obj, center in zip(scene.objects, centers, strict=True):
            region = self._columns(center / WIDTH)
            for word in (obj.category, obj.color):
                found[word] = found[word] | region if word in found else region
        return found

    def _columns(self, center: float) -> Tensor:
        middles = (np.arange(self.grid) + 0.5) / self.grid
        near = np.abs(middles - center) < REACH / 7
        return torch.from_numpy((near[None, :] & (middles > SKY)[:, None]).ravel())


def attention_loss(weights: Tensor, regions: Tensor) -> Tensor:
    """Return the mean of -log of the attention inside a word's region, over the words that have one.

    Args:
        weights: (T, L, N), rows that sum to 1.
        regions: (T, L, N) bool.
    """
    pointing = regions.any(dim=-1)
    inside = (weights * regions).sum(dim=-1).clamp(min=1e-6)
    return -(inside.log() * pointing).sum() / pointing.sum().clamp(min=1)


class PlaceHeads(nn.Module):
    """Two linear heads that are only used in training.

    One predicts the position of a word's object from the state of the word after the first layer, the other the
    positions of the two objects of a left-or-right question from the pooled features.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.word = nn.Linear(hidden_size, 1)
        self.pair = nn.Linear(2 * hidden_size, 2)

    def forward(self, fusion: MeterOutput, regions: Tensor, places: Tensor | None) -> dict[str, Tensor]:
        """Return named losses for regions (T, L, N) bool and places (T, 2) in [0, 1] or NOWHERE."""
        if fusion.cross_attentions is None or fusion.hidden_states is None:
            raise ValueError("run METER with output_cross_attentions and output_hidden_states")
        columns = regions.unflatten(-1, (math.isqrt(regions.shape[-1]), -1)).any(dim=-2).float()
        count = columns.sum(dim=-1)
        grid = torch.linspace(0, 1, columns.shape[-1], device=columns.device)
        # A word for several objects has no single position.
        compact = (count > 0) & (count <= 2)
        losses = {
            "attention": attention_loss(fusion.cross_attentions[0].float(), regions),
            "position": squared_error(
                self.word(fusion.hidden_states[0])[..., 0], (columns @ grid) / count.clamp(min=1), compact
            ),
        }
        if places is not None:
            losses["pair"] = squared_error(self.pair(fusion.pooler_output), places, places >= 0)
        return losses


def squared_error(guess: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Return 5 times the mean squared error where known, as places are in [0, 1] and other losses around 1."""
    return 5 * ((guess.float() - target) ** 2 * known).sum() / known.sum().clamp(min=1)
