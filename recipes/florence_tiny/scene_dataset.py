"""Synthetic scenes as training batches: images are cached on disk, texts are sampled for every batch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from florence_rag.models.processing import FlorenceImageProcessor
from recipes.florence_tiny.grounding import NOWHERE, WordRegions, pair_places
from recipes.florence_tiny.synthetic.captions import caption
from recipes.florence_tiny.synthetic.drawing import draw_scene
from recipes.florence_tiny.synthetic.questions import color_question, questions
from recipes.florence_tiny.synthetic.scene import Scene, sample_scene
from recipes.florence_tiny.synthetic.statements import Statement, sample_statement, statement_text, truth_table
from recipes.florence_tiny.synthetic.vocabulary import ANSWERS

IGNORE = -100
DRAWN_SIZE = (448, 336)


def scene_at(index: int, seed: int) -> Scene:
    """Return a training scene; it shows no held-out combination of color and category."""
    return sample_scene(random.Random(f"{seed}/{index}"), "seen")


def _draw_resized(index: int, seed: int, processor: FlorenceImageProcessor) -> np.ndarray:
    return processor.resize(draw_scene(scene_at(index, seed), DRAWN_SIZE))


class SceneDataset(Dataset[dict[str, Any]]):
    """Scenes with their images, (size, size, 3) uint8, drawn once into a memory-mapped file."""

    def __init__(self, cache: Path, count: int, processor: FlorenceImageProcessor, *, seed: int = 0) -> None:
        self.count, self.seed = count, seed
        path = cache / f"scenes-{seed}-{count}-{processor.size}.npy"
        if not path.exists():
            _draw_all(path, count, seed, processor)
        self.pixels = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixels": self.pixels[index], "scene": scene_at(index, self.seed)}


def _draw_all(path: Path, count: int, seed: int, processor: FlorenceImageProcessor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_suffix(".partial.npy")
    shape = (count, processor.size, processor.size, 3)
    pixels = np.lib.format.open_memmap(partial_path, mode="w+", dtype=np.uint8, shape=shape)
    with ProcessPoolExecutor() as pool:
        images = pool.map(partial(_draw_resized, seed=seed, processor=processor), range(count), chunksize=64)
        for index, image in enumerate(images):
            pixels[index] = image
    pixels.flush()
    partial_path.rename(path)


@dataclass
class SceneCollator:
    """Turns scenes into a batch of images, captions, questions and statements.

    Most texts for the dual encoder are whole captions; the others are search phrases and questions that match several
    images, for which the UniCL loss has several positives.
    """

    tokenizer: PreTrainedTokenizerBase
    processor: FlorenceImageProcessor
    questions_per_scene: int = 3
    statements_per_scene: int = 1
    masked_per_scene: int = 1
    phrase_share: float = 0.3
    mask_share: float = 0.35
    word_regions: WordRegions | None = None

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the arguments of JointModel.forward for rows of a SceneDataset."""
        rng = random.Random(torch.randint(2**62, ()).item())
        scenes = [row["scene"] for row in rows]
        pixels = torch.from_numpy(np.stack([row["pixels"] for row in rows]))
        captions, positives = self._captions(scenes, rng)
        return {
            "pixel_values": self.processor.normalize_pixels(pixels),
            "caption_ids": self.tokenizer(captions, padding=True, truncation=True, return_tensors="pt")["input_ids"],
            "positives": positives,
            "asked": self._asked(scenes, rng) if self.questions_per_scene + self.statements_per_scene else None,
            "masked": self._masked(scenes, rng) if self.masked_per_scene else None,
        }

    def _captions(self, scenes: Sequence[Scene], rng: random.Random) -> tuple[list[str], torch.Tensor]:
        captions = [caption(scene, rng) for scene in scenes]
        positives = torch.eye(len(scenes), dtype=torch.bool)
        columns = rng.sample(range(len(scenes)), int(self.phrase_share * len(scenes)))
        phrases = {column: search_phrase(scenes[column], rng) for column in columns}
        if phrases:
            truth = truth_table([statement for _, statement in phrases.values()], scenes)
            positives[:, list(phrases)] = torch.from_numpy(truth.T)
        for column, (text, _) in phrases.items():
            captions[column] = text
        return captions, positives

    def _asked(self, scenes: Sequence[Scene], rng: random.Random) -> dict[str, Any]:
        texts: list[str] = []
        image_index: list[int] = []
        answers: list[int] = []
        matches: list[int] = []
        places: list[tuple[float, float]] = []
        for index, scene in enumerate(scenes):
            for question in questions(scene, rng, self.questions_per_scene):
                texts.append(question.text)
                answers.append(ANSWERS.index(question.answer))
                matches.append(IGNORE)
                image_index.append(index)
                places.append(pair_places(question, scene))
            for _ in range(self.statements_per_scene):
                text, match = itm_example(scene, rng.choice(scenes), rng)
                texts.append(text)
                answers.append(IGNORE)
                matches.append(int(match))
                image_index.append(index)
                places.append(NOWHERE)
        encoded = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        return {
            "input_ids": encoded["input_ids"],
            "attention_mask": encoded["attention_mask"],
            "image_index": torch.tensor(image_index),
            **self._regions(encoded["input_ids"], image_index, scenes),
            **({"places": torch.tensor(places)} if self.word_regions else {}),
            "labels": {"vqa": one_hot_answers(answers), "itm": torch.tensor(matches)},
        }

    def _masked(self, scenes: Sequence[Scene], rng: random.Random) -> dict[str, Any]:
        """Return captions with masked words, as in the pre-training of METER."""
        image_index = [index for index in range(len(scenes)) for _ in range(self.masked_per_scene)]
        texts = [caption(scenes[index], rng) for index in image_index]
        encoded = self.tokenizer(
            texts, padding=True, truncation=True, return_tensors="pt", return_special_tokens_mask=True
        )
        input_ids = encoded["input_ids"]
        masked = (torch.rand(input_ids.shape) < self.mask_share) & ~encoded["special_tokens_mask"].bool()
        inputs = input_ids.masked_fill(masked, self.tokenizer.mask_token_id)
        return {
            "input_ids": inputs,
            "attention_mask": encoded["attention_mask"],
            "image_index": torch.tensor(image_index),
            **self._regions(inputs, image_index, scenes),
            "labels": {"mlm": input_ids.masked_fill(~masked, IGNORE)},
        }

    def _regions(self, input_ids: torch.Tensor, image_index: Sequence[int], scenes: Sequence[Scene]) -> dict[str, Any]:
        return {"regions": self.word_regions(input_ids, image_index, scenes)} if self.word_regions else {}


def search_phrase(scene: Scene, rng: random.Random) -> tuple[str, Statement]:
    """Sample a search phrase for the scene, or a question that it answers, with the statement that it implies."""
    if rng.random() < 0.4:
        for question in questions(scene, rng, 2):
            if question.statement is not None:
                return question.text, question.statement
    statement = sample_statement(scene, rng, holds=True)
    return statement_text(statement, rng), statement


def itm_example(scene: Scene, other: Scene, rng: random.Random) -> tuple[str, bool]:
    """Sample a text for image-text matching, and whether it matches the scene."""
    kind = rng.random()
    if kind < 0.25 and (question := unanswerable_question(scene, rng)) is not None:
        return question, False
    if kind < 0.55:
        text, statement = search_phrase(scene if rng.random() < 0.8 else other, rng)
        return text, statement.holds(scene)
    statement = sample_statement(scene, rng, holds=rng.random() < 0.5)
    return statement_text(statement, rng), statement.holds(scene)


def unanswerable_question(scene: Scene, rng: random.Random) -> str | None:
    """Sample a color question about a near miss, such as a car near a tree instead of next to it."""
    for _ in range(8):
        near = sample_statement(scene, rng, holds=False)
        statement = Statement((near.subject[0], None), near.relation, near.other)
        if statement.relation is not None and not statement.holds(scene):
            return color_question(statement, rng)
    return None


def one_hot_answers(answers: Sequence[int]) -> torch.Tensor:
    """Return soft scores (N, A) for answer ids (N,); an id of -100 gives a row of -100."""
    labels = torch.zeros(len(answers), len(ANSWERS))
    for row, answer in enumerate(answers):
        if answer == IGNORE:
            labels[row] = IGNORE
        else:
            labels[row, answer] = 1.0
    return labels
