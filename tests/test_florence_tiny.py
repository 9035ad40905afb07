"""The weights that ship know the drawn world. The full figures are in docs/model_card.md, by `make card`."""

import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from florence_rag.embedding.florence import FlorenceEmbedder
from florence_rag.models.boxes import iou
from florence_rag.models.registry import find_model
from florence_rag.perception.actions import VideoCoSwinRecognizer
from florence_rag.perception.detector import DyHeadDetector
from florence_rag.perception.meter import MeterMatcher, MeterVQA
from florence_rag.retrieval.query_vector import combine_vectors
from recipes.florence_tiny.synthetic.captions import canonical_caption, caption
from recipes.florence_tiny.synthetic.drawing import draw_scene, object_boxes
from recipes.florence_tiny.synthetic.questions import questions
from recipes.florence_tiny.synthetic.scene import sample_scene
from recipes.florence_tiny.synthetic.statements import sample_statement, statement_text
from recipes.florence_tiny.synthetic.video_scenes import ACTIONS, sample_action_segment
from recipes.florence_tiny.synthetic.vocabulary import ANSWER_NAMES
from recipes.florence_tiny.train_actions import clip_times

CARD = find_model("florence-tiny")


@pytest.fixture(scope="module")
def scenes():
    rng = random.Random("scenes for the test of the weights")
    distinct = {canonical_caption(scene): scene for scene in (sample_scene(rng, "any") for _ in range(110))}
    return list(distinct.values())[:100]


@pytest.fixture(scope="module")
def frames(scenes):
    return [np.asarray(draw_scene(scene)) for scene in scenes]


@pytest.fixture(scope="module")
def vqa():
    return MeterVQA.from_pretrained(CARD.meter, device="cpu")


def test_weights_are_small():
    assert sum(file.stat().st_size for file in Path(CARD.source).rglob("*") if file.is_file()) <= 40e6


def test_captions_find_their_pictures_and_pictures_their_captions(scenes, frames):
    embedder = FlorenceEmbedder.from_pretrained(CARD.florence, CARD.name, device="cpu")
    assert embedder.capabilities.region_view == "masked"  # it knows whole streets only
    rng = random.Random(1)
    similarity = embedder.embed_texts([caption(scene, rng) for scene in scenes]) @ embedder.embed_images(frames).T
    for table in (similarity, similarity.T):
        rank = (table > np.diagonal(table)[:, None]).sum(axis=1)
        assert (rank < 1).mean() >= 0.80
        assert (rank < 5).mean() >= 0.97


def test_an_unwanted_object_stays_out_of_the_first_hits(scenes, frames):
    embedder = FlorenceEmbedder.from_pretrained(CARD.florence, CARD.name, device="cpu")
    vectors, spoiled = embedder.embed_images(frames), {"none": 0, "subtracted": 0}
    for color, unwanted in product(("red", "blue", "white"), ("car", "dog", "tree")):
        parts = embedder.embed_texts([f"a {color} house", f"a {unwanted}"])
        shown = np.array([any(obj.category == unwanted for obj in scene.objects) for scene in scenes])
        for name, query in (("none", parts[0]), ("subtracted", combine_vectors(parts, [1, -1]).unit)):
            spoiled[name] += shown[np.argsort(-vectors @ query)[:5]].sum()
    assert spoiled["none"] >= 10 and spoiled["subtracted"] <= 1


def test_questions_are_answered(scenes, frames, vqa):
    rng = random.Random(2)
    right = [
        vqa.answer(frame, question.text).answer == question.answer
        for scene, frame in zip(scenes[:60], frames, strict=False)
        for question in questions(scene, rng, 5)
    ]
    assert np.mean(right) >= 0.92


def test_phrases_are_judged(scenes, frames):
    matcher = MeterMatcher.from_pretrained(CARD.meter, device="cpu")
    rng = random.Random(3)
    truths = [rng.random() < 0.5 for _ in scenes]
    texts = [
        statement_text(sample_statement(s, rng, holds=truth), rng) for s, truth in zip(scenes, truths, strict=True)
    ]
    assert ((matcher.match(frames, texts) > 0.5) == np.array(truths)).mean() >= 0.9


def test_weights_are_kept_in_half_precision_and_used_in_full():
    from florence_rag.models.florence import FlorenceModel

    model = FlorenceModel.from_pretrained(CARD.florence, dtype=torch.float32)
    assert model.dtype == torch.float32


def test_things_are_found_where_they_stand(scenes, frames):
    detector = DyHeadDetector.from_pretrained(CARD.detector, name=CARD.name, device="cpu")
    wanted = found = right = 0
    for scene, regions in zip(scenes[:40], detector.detect(frames[:40]), strict=True):
        names = [ANSWER_NAMES[thing.category] for thing in scene.objects]
        truth = torch.tensor(object_boxes(scene))
        for region in regions:
            overlaps = iou(torch.tensor(region.box), truth)
            right += bool(overlaps.max() > 0.8) and names[int(overlaps.argmax())] == region.label
        wanted, found = wanted + len(names), found + len(regions)
    assert right / found >= 0.95 and right / wanted >= 0.95


@pytest.mark.slow
def test_actions_are_recognized_and_a_single_picture_does_not_tell_them():
    recognizer = VideoCoSwinRecognizer.from_pretrained(CARD.video, name=CARD.name, device="cpu")
    assert recognizer.labels == ACTIONS
    rng, right, guessed = random.Random("clips for the test of the weights"), [], []
    for action in ACTIONS * 5:
        take, leg = sample_action_segment(rng, action, scene=sample_scene(rng, "any"))
        frames = [np.asarray(frame) for frame in take.draw(clip_times(*take.spans()[leg]), (240, 180))]
        right.append(recognizer.classify(frames)[0][0] == action)
        guessed.append(recognizer.classify(frames[4:5])[0][0] == action)
    assert np.mean(right) >= 0.85 and np.mean(guessed) <= 0.4
