"""Where in the picture words point to: the drawn world knows where everything stands.

Teaches METER's first cross-attention where to look, as word-region alignment does in UNITER (arXiv 1909.11740, section
3.2), and its states to know where they looked. Answers alone teach it too, but need many times the steps; left and
right were not learned from them at all.
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
"""Share of the picture, from the top, in which nothing stands."""
REACH = 0.9
"""How far the middle of a token may lie from the middle of a thing, in tokens of a grid of 7."""


NOWHERE = (-1.0, -1.0)


def pair_places(question: Question, scene: Scene) -> tuple[float, float]:
    """Where the two things of a left-or-right question stand, from 0 (left) to 1; NOWHERE for any other question."""
    statement = question.statement
    if question.type != "left-right" or statement is None:
        return NOWHERE
    subject, other = (
        next(obj.slot for obj in scene.objects if obj.category == name and color in (None, obj.color))
        for name, color in statement.descriptions
    )
    return subject / (SLOTS - 1), other / (SLOTS - 1)


class WordRegions:
    """Finds the words for objects and colours among tokens, and the image tokens of what they mean."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, grid: int) -> None:
        self.grid = grid
        names = {**{name: name for name in (*CATEGORIES, *COLORS)}, **{f"{name}s": name for name in CATEGORIES}}
        ids = {word: tokenizer(word, add_special_tokens=False)["input_ids"] for word in (*names, *OTHER_FORMS)}
        self._meaning = {tokens[0]: {**names, **OTHER_FORMS}[word] for word, tokens in ids.items() if len(tokens) == 1}

    def __call__(self, input_ids: Tensor, about: Sequence[int], scenes: Sequence[Scene]) -> Tensor:
        """input_ids (T, L), about: the scene of each text -> (T, L, grid^2) bool; all false where no word points."""
        regions = torch.zeros(*input_ids.shape, self.grid**2, dtype=torch.bool)
        maps = [self._map(scene) for scene in scenes]
        for row, (ids, index) in enumerate(zip(input_ids.tolist(), about, strict=True)):
            for column, token in enumerate(ids):
                region = maps[index].get(self._meaning.get(token, ""))
                if region is not None:
                    regions[row, column] = region
        return regions

    def _map(self, scene: Scene) -> dict[str, Tensor]:
        """Object or colour -> its image tokens."""
        # The drawing shifts things by a few pixels at random; to a token that is nothing.
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
    """Mean of -log of the attention that falls into a word's region, over the words that have one.

    weights (T, L, N): rows sum to 1; regions (T, L, N) bool.
    """
    pointing = regions.any(dim=-1)
    inside = (weights * regions).sum(dim=-1).clamp(min=1e-6)
    return -(inside.log() * pointing).sum() / pointing.sum().clamp(min=1)


class PlaceHeads(nn.Module):
    """Two linear read-outs that are thrown away after training: the place of a word's thing from its state after the
    first layer, and the places of the two things of a left-or-right question from the pooled features.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.word = nn.Linear(hidden_size, 1)
        self.pair = nn.Linear(2 * hidden_size, 2)

    def forward(self, fusion: MeterOutput, regions: Tensor, places: Tensor | None) -> dict[str, Tensor]:
        """regions (T, L, N) bool; places (T, 2) in [0, 1] or NOWHERE -> named losses."""
        if fusion.cross_attentions is None or fusion.hidden_states is None:
            raise ValueError("run METER with output_cross_attentions and output_hidden_states")
        columns = regions.unflatten(-1, (math.isqrt(regions.shape[-1]), -1)).any(dim=-2).float()
        count = columns.sum(dim=-1)
        grid = torch.linspace(0, 1, columns.shape[-1], device=columns.device)
        # A word for things in several places has no one place.
        compact = (count > 0) & (count <= 2)
        losses = {
            "looked": attention_loss(fusion.cross_attentions[0].float(), regions),
            "where": squared_error(
                self.word(fusion.hidden_states[0])[..., 0], (columns @ grid) / count.clamp(min=1), compact
            ),
        }
        if places is not None:
            losses["pair"] = squared_error(self.pair(fusion.pooler_output), places, places >= 0)
        return losses


def squared_error(guess: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """5 x the mean squared error where known: places lie in [0, 1], other losses around 1."""
    return 5 * ((guess.float() - target) ** 2 * known).sum() / known.sum().clamp(min=1)
