import random

import pytest
import torch

from recipes.florence_tiny.grounding import NOWHERE, WordRegions, attention_loss, pair_places
from recipes.florence_tiny.synthetic.questions import questions
from recipes.florence_tiny.synthetic.scene import Scene, SceneObject
from recipes.florence_tiny.train import TinyShape, build_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(TinyShape(), scenes=200)


def columns_of(text, scene, tokenizer):
    """Word -> the columns of the 7 x 7 grid it speaks of."""
    input_ids = tokenizer(text, return_tensors="pt")["input_ids"]
    regions = WordRegions(tokenizer, 7)(input_ids, [0], [scene])[0].view(-1, 7, 7)
    words = [tokenizer.decode([token]).strip() for token in input_ids[0].tolist()]
    return {
        word: region.any(dim=0).nonzero().flatten().tolist()
        for word, region in zip(words, regions, strict=True)
        if region.any()
    }


def test_words_point_to_the_objects_that_they_name(tokenizer):
    scene = Scene(
        (
            SceneObject("car", "red", "large", 0),
            SceneObject("bus", "blue", "large", 2),
            SceneObject("tree", "red", "large", 4),
        )
    )
    found = columns_of("is the red car left of the blue bikes and the bus ?", scene, tokenizer)
    assert set(found) == {"red", "car", "blue", "bus"}, "there is no bicycle in the image"
    assert max(found["car"]) <= 1
    assert found["bus"] == found["blue"] and 3 in found["bus"]
    assert set(found["car"]) < set(found["red"]), "the tree is red, too"


def test_other_forms_of_a_word(tokenizer):
    scene = Scene((SceneObject("person", "green", "small", 2),))
    assert set(columns_of("how many people wearing green", scene, tokenizer)) == {"people", "green"}


def test_places_of_a_left_or_right_question():
    scene = Scene(
        (
            SceneObject("car", "red", "large", 1),
            SceneObject("car", "blue", "large", 2),
            SceneObject("tree", "red", "large", 4),
        )
    )
    rng = random.Random(3)
    for question in questions(scene, rng, 60):
        places = pair_places(question, scene)
        if question.type == "left-right":
            assert (places[0] < places[1]) == (question.answer == "left")
        else:
            assert places == NOWHERE


def test_attention_loss():
    regions = torch.tensor([[[True, True, False, False], [False] * 4]])
    inside = torch.tensor([[[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]])
    half = torch.tensor([[[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]]])
    assert attention_loss(inside, regions) == 0
    torch.testing.assert_close(attention_loss(half, regions), torch.tensor(2.0).log())
    assert attention_loss(half, torch.zeros_like(regions)) == 0, "no word points anywhere"
