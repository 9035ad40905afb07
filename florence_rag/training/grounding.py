"""Which image tokens a word speaks of: the drawn world knows where everything stands.

Used to teach METER's first cross-attention where to look, as word-region alignment does in UNITER (arXiv 1909.11740,
section 3.2): answers alone teach it too, but need many times the steps.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from florence_rag.training.world.draw import place
from florence_rag.training.world.pen import WIDTH
from florence_rag.training.world.scene import COLOURS, OBJECTS, Scene

OTHER_FORMS = {"bike": "bicycle", "bikes": "bicycle", "people": "person", "buses": "bus"}
SKY = 2 / 7
"""Share of the picture, from the top, in which nothing stands."""
REACH = 0.9
"""How far the middle of a token may lie from the middle of a thing, in tokens of a grid of 7."""


class WordRegions:
    """Finds the words for objects and colours among tokens, and the image tokens of what they mean."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, grid: int) -> None:
        self.grid = grid
        names = {**{name: name for name in (*OBJECTS, *COLOURS)}, **{f"{name}s": name for name in OBJECTS}}
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
        centres = place(scene, random.Random(0))
        found: dict[str, Tensor] = {}
        for thing, centre in zip(scene.things, centres, strict=True):
            region = self._columns(centre / WIDTH)
            for word in (thing.object, thing.colour):
                found[word] = found[word] | region if word in found else region
        return found

    def _columns(self, centre: float) -> Tensor:
        middles = (np.arange(self.grid) + 0.5) / self.grid
        near = np.abs(middles - centre) < REACH / 7
        return torch.from_numpy((near[None, :] & (middles > SKY)[:, None]).ravel())


def attention_loss(weights: Tensor, regions: Tensor) -> Tensor:
    """Mean of -log of the attention that falls into a word's region, over the words that have one.

    weights (T, L, N): rows sum to 1; regions (T, L, N) bool.
    """
    pointing = regions.any(dim=-1)
    inside = (weights * regions).sum(dim=-1).clamp(min=1e-6)
    return -(inside.log() * pointing).sum() / pointing.sum().clamp(min=1)
