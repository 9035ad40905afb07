from dataclasses import dataclass, field

import numpy as np
import pytest

from florence_rag.answering.base import Evidence
from florence_rag.answering.vqa_answerer import UNKNOWN, Answerer, AnsweringConfig, conclude
from florence_rag.context import loaded
from florence_rag.errors import InputError, MediaError
from florence_rag.perception.base import VQAResult
from florence_rag.testing import COLORS, ColorVQA, ScriptedVQA, color_frame
from florence_rag.types import Hit, Locator


def hit(name, kind="image", **words):
    return Hit(id=name, kind=kind, source=f"/{name}", locator=Locator(), score=1.0, **words)


@dataclass
class Found:
    """A search that always finds these hits, of the kinds asked for."""

    hits: list
    calls: list = field(default_factory=list)

    def search(self, text=None, image=None, k=5, kinds=None, filter=None, group=True):
        self.calls.append((text, k, frozenset(kinds), filter, group))
        return [each for each in self.hits if each.kind in kinds][:k]


def answerer(frames, vqa=None, **config):
    """Over pictures by name; a value that is a tuple gives the keyframes of a clip."""
    hits = [hit(name, "clip" if isinstance(frame, tuple) else "image") for name, frame in frames.items()]
    images = {name: frame if isinstance(frame, tuple) else (frame,) for name, frame in frames.items()}
    vqa = loaded(vqa or ColorVQA())
    return Answerer(Found(hits), vqa, lambda h: images[h.id], AnsweringConfig(**config), matcher=vqa)


def test_the_picture_that_fits_the_question_is_asked_and_cited():
    answer = answerer({"a": color_frame("blue"), "b": color_frame("red", "red", "red", "green")}).ask("the red one?")
    assert answer.answer == "red"
    assert [citation.id for citation in answer.citations] == ["b"]
    shares = np.array([3, 1]) / np.sqrt(10)
    odds = shares[0] / (1 - shares[0]) / 2**1.5  # the search found it second
    blue, none = 0.01 / 0.99, 0.3
    assert answer.confidence == pytest.approx(odds / (odds + blue + none) * 0.75, abs=1e-3)


def test_of_a_clip_the_keyframe_that_fits_best_is_asked():
    answer = answerer({"a": (color_frame("green"), color_frame("red"))}).ask("Is anything red?")
    assert (answer.answer, answer.citations[0].kind) == ("red", "clip")


def test_equal_answers_are_one_answer_with_all_their_citations():
    frames = {"a": color_frame("red"), "b": color_frame("red"), "c": color_frame("blue")}
    answer = answerer(frames, rank_weight=0.5).ask("What red thing is there?")
    assert answer.answer == "red"
    assert [citation.id for citation in answer.citations] == ["a", "b"]
    assert answer.confidence == pytest.approx(sum(citation.confidence for citation in answer.citations), abs=1e-3)
    assert [text for text, _ in answer.candidates] == ["red", "blue"]


def test_only_the_k_best_fitting_pictures_are_asked():
    vqa = ScriptedVQA({"": ("yes", 0.9)})
    answerer({name: color_frame("red") for name in "abcdefgh"}, vqa).ask("Anything?", k=2)
    assert len(vqa.asked) == 2


def test_weak_evidence_is_not_an_answer():
    answer = answerer({"a": color_frame("red")}, ScriptedVQA({"": ("yes", 0.4)})).ask("Is it?")
    assert (answer.answer, answer.citations) == (UNKNOWN, ())
    assert answer.confidence == pytest.approx(0.4, abs=0.01)
    assert answer.candidates == (("yes", answer.confidence),)


def test_a_question_that_could_mean_several_pictures_has_no_confident_answer():
    frames = {color: color_frame(color) for color in ("red", "green", "blue")}
    answer = answerer(frames, rank_weight=0.5).ask("What is there?")
    assert answer.answer == UNKNOWN
    assert [text for text, _ in answer.candidates] == ["red", "green", "blue"]


def test_a_better_rank_decides_between_pictures_that_fit_alike():
    answer = answerer({"a": color_frame("red"), "b": color_frame("green")}, threshold=0.0).ask("What is there?")
    (first, red), (second, green) = answer.candidates
    assert (first, second) == ("red", "green")
    assert red == pytest.approx(2**1.5 * green, abs=1e-3)


def test_an_empty_index_is_not_an_answer_either():
    assert answerer({}).ask("Is it?").to_dict() == {
        "answer": UNKNOWN,
        "confidence": 0.0,
        "citations": [],
        "candidates": [],
    }


def test_a_passage_with_the_words_of_the_question_beats_a_picture_that_hardly_fits():
    text = "Dogs are welcome. The night bus leaves the market every hour."
    found = Found([hit("a"), hit("b", "text", text=text)])
    vqa = ScriptedVQA({"": ("car", 0.8)}, fit=0.2)
    asked = Answerer(found, loaded(vqa), lambda h: (color_frame("red"),) * (h.id == "a"), matcher=loaded(vqa))
    answer = asked.ask("When does the night bus leave the market?")
    assert answer.answer == "The night bus leaves the market every hour."
    assert answer.citations[0].quote == answer.answer
    assert answer.citations[0].kind == "text"


def test_words_read_in_a_picture_are_quoted():
    found = Found([hit("a", ocr="STREET MARKET\nSATURDAY 9 AM")])
    asked = Answerer(found, loaded(ScriptedVQA({"": ("sign", 0.3)})), lambda _: (color_frame("red"),))
    answer = asked.ask("When is the street market?")
    assert (answer.answer, answer.citations[0].kind) == ("STREET MARKET SATURDAY 9 AM", "image")


def test_a_picture_whose_file_is_gone_is_left_out():
    def load(each):
        if each.id == "a":
            raise MediaError("'/a' is gone")
        return (color_frame("blue"),)

    answer = Answerer(Found([hit("a"), hit("b")]), loaded(ColorVQA()), load, matcher=loaded(ColorVQA())).ask(
        "Which one is blue?"
    )
    assert [citation.id for citation in answer.citations] == ["b"]


def test_the_search_is_told_what_was_asked_for():
    asked = answerer({"a": color_frame("red")})
    asked.ask("red?", k=4, kinds={"image", "text"}, filter={"source": "/a"})
    assert asked.retriever.calls == [
        ("red?", 12, frozenset({"image"}), {"source": "/a"}, False),
        ("red?", 4, frozenset({"text"}), {"source": "/a"}, False),
    ]


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_refused(question):
    with pytest.raises(InputError, match="must not be empty"):
        answerer({}).ask(question)


def test_an_answer_carries_a_limited_number_of_citations():
    evidence = [Evidence(hit(name), "yes", 0.9) for name in "abcdef"]
    assert len(conclude(evidence, AnsweringConfig(citations=2)).citations) == 2


class AttentionVQA:
    """A VisualQA that can not match: it says which frame it saw, and nothing of how sure it is."""

    def __init__(self, answers=None):
        self.answers = answers
        self.seen = []

    def answer(self, frame, question):
        self.seen.append(frame)
        answer = ColorVQA().answer(frame, question).answer
        return VQAResult(answer if self.answers is None else self.answers.get(answer, ""), None, ())


def unmatched(frames, vqa=None, **config):
    matched = answerer(frames, ColorVQA(), **config)
    return Answerer(matched.retriever, loaded(vqa or AttentionVQA()), matched.load_frames, matched.config)


def test_without_a_matcher_the_order_of_the_search_decides():
    asked = unmatched({"a": color_frame("blue"), "b": color_frame("red")}, threshold=0.0)
    answer = asked.ask("the red one?", k=2)
    assert answer.answer == "blue"
    assert answer.candidates == (
        ("blue", pytest.approx(1 / 1.55, abs=1e-4)),
        ("red", pytest.approx(0.25 / 1.55, abs=1e-4)),
    )
    assert [(citation.id, citation.confidence) for citation in answer.citations] == [
        ("a", pytest.approx(0.6452, abs=1e-4))
    ]


def test_without_a_matcher_no_more_is_searched_for_and_looked_at_than_is_asked():
    asked = unmatched({name: color_frame("red") for name in "abcdefgh"})
    assert asked.ask("Anything?", k=3).answer == "red"
    assert asked.retriever.calls[0][1] == 3 and len(asked.vqa.get().seen) == 3


def test_without_a_matcher_the_middle_keyframe_stands_for_a_clip():
    clip = tuple(color_frame(color) for color in ("red", "green", "blue"))
    assert unmatched({"a": clip}).ask("What is there?").answer == "green"


def test_without_a_matcher_one_of_many_pictures_is_hardly_sure():
    frames = {color: color_frame(color) for color in COLORS}
    answer = unmatched(frames, ScriptedVQA({"": ("yes", 0.6)})).ask("Is it?", k=8)
    assert answer.confidence > 0.5  # of them agree
    answer = unmatched(frames).ask("What is there?", k=8)
    assert 0.5 < answer.confidence < 0.6
    unsure = AttentionVQA({"black": "a cat"})
    assert unmatched(frames, unsure, threshold=0.6).ask("What is there?", k=8).answer == UNKNOWN


def test_an_empty_answer_is_none():
    answer = unmatched({"a": color_frame("red"), "b": color_frame("blue")}, AttentionVQA({"blue": "a bus"})).ask(
        "What?", k=2
    )
    assert [text for text, _ in answer.candidates] == ["a bus"]
    assert unmatched({"a": color_frame("red")}, AttentionVQA({})).ask("What?").to_dict()["candidates"] == []
