import pytest

from florence_rag.answering.claims import parse_claim
from florence_rag.answering.visual_check import CheckedImage, check_image
from florence_rag.context import Models
from florence_rag.perception.base import Detection, VQAResult
from florence_rag.testing import ColorEmbedder, ScriptedVQA, color_frame

FRAME = color_frame("red")
WORDS = {"is", "there", "a", "car", "red", "to", "the", "left", "of", "bus"}


class TwoCars:
    """Detects two cars, to the left and to the right of a bus."""

    labels = ("car", "bus", "dog")

    def detect(self, frames):
        found = [
            Detection("car", (0.0, 0.5, 0.2, 0.9), 0.95),
            Detection("bus", (0.4, 0.5, 0.6, 0.9), 0.95),
            Detection("car", (0.8, 0.5, 1.0, 0.9), 0.9),
        ]
        return [found for _ in frames]


class FewWords(ScriptedVQA):
    """Knows ten words only."""

    def knows(self, text):
        return {*text.lower().strip("?").split()} <= WORDS


class Silent:
    """States no confidence."""

    def answer(self, frame, question):
        return VQAResult("yes", None, ())


def check(text, **models):
    return check_image(parse_claim(text), CheckedImage(FRAME, Models.of(ColorEmbedder(), **models)))


@pytest.mark.parametrize(
    ("answer", "text", "verdict"),
    [
        (("yes", 0.95), "there is a red car", "supported"),
        (("no", 0.95), "there is a red car", "contradicted"),
        (("no", 0.95), "there is no red car", "supported"),
        (("yes", 0.95), "there is no red car", "contradicted"),
        (("yes", 0.6), "there is a red car", "unknown"),
        (("2", 0.95), "there are two red cars", "supported"),
        (("two", 0.95), "there are 2 red cars", "supported"),
        (("3", 0.95), "there are two red cars", "contradicted"),
    ],
)
def test_a_vqa_model_decides_by_its_answer(answer, text, verdict):
    fit = answer[1] if answer[0] == "yes" else 1 - answer[1]
    assert check(text, vqa=ScriptedVQA({"": answer}, fit)).verdict == verdict


def test_an_answer_of_another_kind_decides_nothing():
    class NoMatcher(Silent):
        def answer(self, frame, question):
            return VQAResult("bicycle", 0.9, ())

    assert check("there is a red car", vqa=NoMatcher()) is None


def test_words_that_a_model_does_not_know_are_not_asked_about():
    vqa = FewWords({"": ("no", 0.99)}, fit=0.0)
    assert check("there is a red car", vqa=vqa).verdict == "contradicted"
    assert check("there is an umbrella", vqa=vqa) is None
    assert vqa.asked == ["Is there a red car?"]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("there are two cars", "supported"),
        ("there are three cars", "contradicted"),
        ("there is one car", "contradicted"),
        ("there is no dog", "supported"),
        ("there is a dog", "contradicted"),
        ("there are 3 red cars", "contradicted"),  # even of any color, there are two
        ("one car is to the left of the bus", "supported"),
        ("two cars are to the left of the bus", "contradicted"),
        ("the bus is to the left of the dog", "contradicted"),
        ("there is a car on the left", "supported"),
    ],
)
def test_a_detector_counts_and_compares_places(text, verdict):
    assert check(text, detector=TwoCars()).verdict == verdict


@pytest.mark.parametrize("text", ["there is a red car", "there is an umbrella", "there is a car behind the bus"])
def test_a_detector_is_silent_about_what_it_cannot_see(text):
    assert check(text, detector=TwoCars()) is None


def test_models_that_contradict_each_other_leave_a_claim_open():
    vqa = ScriptedVQA({"": ("yes", 0.95)}, fit=0.95)
    assert check("there is a dog", vqa=vqa, detector=TwoCars()).verdict == "unknown"


def test_the_box_is_that_of_the_subject_or_of_all_that_are_counted():
    assert check("there are two cars", detector=TwoCars()).box == (0.0, 0.5, 1.0, 0.9)
    assert check("there is a bus", detector=TwoCars()).box == (0.4, 0.5, 0.6, 0.9)


def test_without_a_stated_confidence_the_verdict_has_none():
    judgment = check("there is a red car", vqa=Silent())
    assert judgment.verdict == "supported" and not judgment.is_stated


def test_without_models_nothing_is_known():
    assert check("there is a red car") is None
