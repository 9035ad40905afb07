import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.errors import InputError
from florence_rag.loading.loaders import CAPTIONER
from florence_rag.loading.model_loader import load_model
from florence_rag.loading.model_options import ModelOptions
from florence_rag.models.registry import TINY
from florence_rag.perception.base import Captioner, Detection, VQAResult
from florence_rag.perception.scene_captions import MAX_OBJECTS, SceneCaptioner, join_phrases, object_phrase
from florence_rag.testing import color_frame
from recipes.florence_tiny.synthetic.drawing import draw_scene
from recipes.florence_tiny.synthetic.scene import Backdrop, Scene, SceneObject, sample_scene

CAR = Detection("car", (0.0, 0.0, 0.3, 1.0), 0.9)
BUS = Detection("bus", (0.4, 0.0, 0.6, 1.0), 0.9)
DOG = Detection("dog", (0.7, 0.0, 1.0, 1.0), 0.9)


class FixedDetector:
    """Finds the same objects in every image."""

    def __init__(self, *regions):
        self.regions = list(regions)

    def detect(self, frames):
        return [self.regions for _ in frames]


class ScriptedVQA:
    """Answers by a part of the question, and records frames and questions."""

    def __init__(self, answers=None, *, confidence=0.9):
        self.answers = {"colour": "red"} if answers is None else answers
        self.confidence = confidence
        self.frames, self.questions = [], []

    def answer_many(self, frames, questions):
        self.frames += frames
        self.questions += questions
        return [self._answer(question) for question in questions]

    def _answer(self, question):
        found = next((answer for part, answer in self.answers.items() if part in question), "no")
        answer, confidence = found if isinstance(found, tuple) else (found, self.confidence)
        return VQAResult(answer, confidence, ((answer, confidence),))


def caption(regions, answers=None, frame=None, **options):
    captioner = SceneCaptioner(FixedDetector(*regions), answers or ScriptedVQA(), **options)
    (text,) = captioner.caption([color_frame("white", size_px=60) if frame is None else frame])
    return text


def test_objects_are_listed_from_left_to_right_with_relations():
    answers = ScriptedVQA(
        {"colour is the car": "red", "colour is the bus": "blue", "colour": "yellow", "left of": "yes"}
    )
    assert caption([DOG, BUS, CAR], answers) == "a red car left of a blue bus, and a yellow dog"
    assert "Is there a red car left of a blue bus?" in answers.questions


def test_next_to_takes_precedence_over_left_of():
    assert caption([CAR, BUS], ScriptedVQA({"colour": "red", "Is there": "yes"})) == "a red car next to a red bus"


def test_uncertain_colors_and_relations_are_omitted():
    answers = ScriptedVQA({"colour is the car": ("red", 0.4), "colour": "blue", "Is there": ("yes", 0.49)})
    assert caption([CAR, BUS], answers) == "a car, and a blue bus"
    assert caption([CAR, BUS], answers, min_confidence=0.3) == "a red car next to a blue bus"


def test_all_other_objects_are_hidden_from_the_question_about_a_color():
    frame, answers = color_frame("red", "red", "blue", size_px=90), ScriptedVQA()
    caption([Detection("car", (0.0, 0.0, 1 / 3, 1.0)), Detection("car", (2 / 3, 0.0, 1.0, 1.0))], answers, frame)
    left, right = answers.frames[:2]
    np.testing.assert_array_equal(left[:, :60], frame[:, :60])
    assert (left[:, 60:] == frame.mean(axis=(0, 1)).round()).all()
    assert (right[:, 61:] == frame[:, 61:]).all() and (right[:, :30] != frame[:, :30]).any()


def test_two_boxes_around_one_object_give_one_name():
    twice = Detection("bicycle", (0.01, 0.0, 0.3, 1.0), 0.6)
    assert caption([twice, CAR, DOG]) == "a red car, and a red dog"


def test_an_image_without_objects_has_an_empty_caption():
    answers = ScriptedVQA()
    assert caption([], answers) == "" and answers.questions == []
    assert SceneCaptioner(FixedDetector(), answers).caption([]) == []


def test_the_most_confident_of_many_objects_are_listed():
    many = [Detection(f"thing{i}", (i / 40, 0.0, (i + 1) / 40, 1.0), i / 40) for i in range(40)]
    text = caption(many)
    assert text.count("thing") == MAX_OBJECTS and "thing39" in text and "thing27" not in text


edge = st.floats(0, 1, allow_nan=False)


@given(st.lists(st.tuples(edge, edge, edge, edge), max_size=6), st.integers(1, 20), st.integers(1, 20))
def test_any_boxes_of_any_image_can_be_captioned(boxes, width, height):
    frame = np.zeros((height, width, 3), dtype=np.uint8)
    things = [
        Detection("car", (min(a, c), min(b, d), max(a, c), max(b, d)), confidence)
        for (a, b, c, d), confidence in zip(boxes, (None, 0.5, 0.9, 1.0, 0.7, None), strict=False)
    ]
    said = caption(things, frame=frame)
    assert bool(said) == bool(things)


@pytest.mark.parametrize("sure", [-0.1, 1.1, float("nan")])
def test_a_confidence_outside_0_to_1_is_refused(sure):
    with pytest.raises(InputError, match="give a confidence from 0 to 1"):
        SceneCaptioner(FixedDetector(), ScriptedVQA(), min_confidence=sure)


def test_phrases_are_joined():
    assert [
        object_phrase("car", "red"),
        object_phrase("car", "orange"),
        object_phrase("umbrella"),
        object_phrase("person", "blue"),
    ] == [
        "a red car",
        "an orange car",
        "an umbrella",
        "a person in blue",
    ]
    assert [join_phrases("abc"[:n]) for n in range(4)] == ["", "a", "a, and b", "a, b, and c"]


@pytest.fixture(scope="module")
def tiny():
    return load_model(CAPTIONER, TINY, ModelOptions(offline=True, device="cpu"))


def test_florence_tiny_captions_a_street(tiny):
    things = (
        SceneObject("car", "red", "large", 0),
        SceneObject("bus", "blue", "large", 1),
        SceneObject("dog", "yellow", "large", 4),
    )
    scene = Scene(things, Backdrop(), 7)
    assert isinstance(tiny, Captioner)
    assert tiny.caption([np.asarray(draw_scene(scene, (640, 480)))]) == [
        "a red car next to a blue bus, and a yellow dog"
    ]


def test_florence_tiny_distinguishes_objects_of_one_category(tiny):
    rng, right, told = random.Random("captions"), 0, 0
    for _ in range(12):
        scene = sample_scene(rng, "any")
        (said,) = tiny.caption([np.asarray(draw_scene(scene, (320, 240)))])
        names = [object_phrase({"hydrant": "fire hydrant"}.get(t.category, t.category), t.color) for t in scene.objects]
        right, told = right + sum(name in said for name in names), told + len(names)
    assert right / told >= 0.9
