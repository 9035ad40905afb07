import random

import numpy as np
import pytest
import torch

from florence_rag.models.processing import FlorenceImageProcessor
from recipes.florence_tiny.scene_dataset import (
    IGNORE,
    SceneCollator,
    SceneDataset,
    itm_example,
    one_hot_answers,
    scene_at,
    search_phrase,
)
from recipes.florence_tiny.synthetic.vocabulary import ANSWERS
from recipes.florence_tiny.train import TinyShape, build_tokenizer

PROCESSOR = FlorenceImageProcessor(size=56, fit="squash", enlarge=1.0)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(TinyShape(), scenes=50)


def test_images_are_drawn_once(tmp_path):
    first = SceneDataset(tmp_path, 6, PROCESSOR)
    changed = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    again = SceneDataset(tmp_path, 6, PROCESSOR)
    assert changed == {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert np.array_equal(first[5]["pixels"], again[5]["pixels"])
    assert first[5]["pixels"].shape == (56, 56, 3)
    assert first[5]["scene"] == scene_at(5, 0)


def test_scenes_never_show_held_out_combinations():
    assert not any(scene_at(index, 0).has_held_out for index in range(300))


def test_batch(tmp_path, tokenizer):
    dataset = SceneDataset(tmp_path, 8, PROCESSOR)
    collator = SceneCollator(tokenizer, PROCESSOR, questions_per_scene=3, statements_per_scene=2)
    torch.manual_seed(0)
    batch = collator([dataset[i] for i in range(8)])
    assert batch["pixel_values"].shape == (8, 3, 56, 56)
    assert len(batch["caption_ids"]) == 8
    assert batch["positives"].diagonal().all(), "every text is true of its own image"
    texts = batch["asked"]
    assert len(texts["input_ids"]) == 8 * 5 == len(texts["image_index"])
    asked = texts["labels"]["vqa"][:, 0] != IGNORE
    judged = texts["labels"]["itm"] != IGNORE
    assert asked.sum() == 24 and judged.sum() == 16
    assert not (asked & judged).any()


def test_only_masked_words_are_targets(tmp_path, tokenizer):
    dataset = SceneDataset(tmp_path, 8, PROCESSOR)
    torch.manual_seed(2)
    masked = SceneCollator(tokenizer, PROCESSOR, masked_per_scene=2)([dataset[i] for i in range(8)])["masked"]
    blotted = masked["input_ids"] == tokenizer.mask_token_id
    assert torch.equal(blotted, masked["labels"]["mlm"] != IGNORE)
    assert 0.2 < blotted.sum() / (masked["attention_mask"].sum() - 2 * 16) < 0.5
    assert masked["image_index"].tolist() == [i // 2 for i in range(16)]


def test_phrases_mark_every_image_that_matches(tmp_path, tokenizer):
    dataset = SceneDataset(tmp_path, 8, PROCESSOR)
    collator = SceneCollator(tokenizer, PROCESSOR, phrase_share=1.0)
    torch.manual_seed(1)
    positives = collator([dataset[i] for i in range(8)])["positives"]
    assert positives.sum() > 8, "among eight streets some phrase fits more than one"


def test_labels_of_image_text_matching():
    rng = random.Random(4)
    truths = []
    for index in range(400):
        scene, other = scene_at(index, 1), scene_at(index + 1, 1)
        text, statement = search_phrase(scene, rng)
        assert text.strip() and statement.holds(scene)
        truths.append(itm_example(scene, other, rng)[1])
    assert 0.3 < np.mean(truths) < 0.75


def test_one_hot_answers():
    labels = one_hot_answers([2, IGNORE])
    assert labels.shape == (2, len(ANSWERS))
    assert labels[0].sum() == 1 and labels[0, 2] == 1
    assert (labels[1] == IGNORE).all()
