from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from florence_rag.answering.base import Evidence
from florence_rag.answering.vqa_answerer import UNKNOWN, Answerer, AnsweringConfig, conclude
from florence_rag.chunking import chunk
from florence_rag.context import loaded
from florence_rag.errors import InputError, MediaError
from florence_rag.perception.base import VQAResult
from florence_rag.testing import COLORS, ColorVQA, ScriptedVQA, color_frame
from florence_rag.types import Hit, Locator
from tests.chunking.samples import SHARED, source


def hit(name, kind="image", **texts):
    return Hit(id=name, kind=kind, source=f"/{name}", locator=Locator(), score=1.0, **texts)


@dataclass
class FixedSearch:
    """Finds these hits, restricted to the requested kinds."""

    hits: list
    calls: list = field(default_factory=list)

    def search(self, text=None, image=None, k=5, kinds=None, filter=None, group=True):
        self.calls.append((text, k, frozenset(kinds), filter, group))
        return [each for each in self.hits if each.kind in kinds][:k]


def answerer(frames, vqa=None, **config):
    """Return an Answerer over images by name; a tuple holds the keyframes of a clip."""
    hits = [hit(name, "clip" if isinstance(frame, tuple) else "image") for name, frame in frames.items()]
    images = {name: frame if isinstance(frame, tuple) else (frame,) for name, frame in frames.items()}
    vqa = loaded(vqa or ColorVQA())
    return Answerer(FixedSearch(hits), vqa, lambda h: images[h.id], AnsweringConfig(**config), matcher=vqa)


def test_the_image_that_matches_the_question_is_examined_and_cited():
    answer = answerer({"a": color_frame("blue"), "b": color_frame("red", "red", "red", "green")}).ask("the red one?")
    assert answer.answer == "red"
    assert [citation.id for citation in answer.citations] == ["b"]
    shares = np.array([3, 1]) / np.sqrt(10)
    odds = shares[0] / (1 - shares[0]) / 2**1.5  # its rank is 1
    blue, no_match = 0.01 / 0.99, 0.3
    assert answer.confidence == pytest.approx(odds / (odds + blue + no_match) * 0.75, abs=1e-3)


def test_the_best_keyframe_of_a_clip_is_examined():
    answer = answerer({"a": (color_frame("green"), color_frame("red"))}).ask("Is anything red?")
    assert (answer.answer, answer.citations[0].kind) == ("red", "clip")


def test_equal_answers_are_one_answer_with_all_their_citations():
    frames = {"a": color_frame("red"), "b": color_frame("red"), "c": color_frame("blue")}
    answer = answerer(frames, rank_weight=0.5).ask("What red thing is there?")
    assert answer.answer == "red"
    assert [citation.id for citation in answer.citations] == ["a", "b"]
    first, second = (citation.confidence for citation in answer.citations)
    assert answer.confidence == pytest.approx(1 - (1 - first) * (1 - second), abs=1e-3)
    assert [text for text, _ in answer.candidates] == ["red", "blue"]


def test_only_the_k_best_matches_are_examined():
    vqa = ScriptedVQA({"": ("yes", 0.9)})
    answerer({name: color_frame("red") for name in "abcdefgh"}, vqa).ask("Is there anything?", k=2)
    assert len(vqa.asked) == 2


def test_weak_evidence_is_not_an_answer():
    answer = answerer({"a": color_frame("red")}, ScriptedVQA({"": ("yes", 0.4)})).ask("Is it?")
    assert (answer.answer, answer.citations) == (UNKNOWN, ())
    assert answer.confidence == pytest.approx(0.4, abs=0.01)
    assert answer.candidates == (("yes", answer.confidence),)


def test_an_ambiguous_question_has_no_confident_answer():
    frames = {color: color_frame(color) for color in ("red", "green", "blue")}
    answer = answerer(frames, rank_weight=0.5).ask("What is there?")
    assert answer.answer == UNKNOWN
    assert [text for text, _ in answer.candidates] == ["red", "green", "blue"]


def test_the_rank_decides_between_equal_matches():
    answer = answerer({"a": color_frame("red"), "b": color_frame("green")}, threshold=0.0).ask("What is there?")
    (first, red), (second, green) = answer.candidates
    assert (first, second) == ("red", "green")
    assert red == pytest.approx(2**1.5 * green, abs=1e-3)


def test_an_empty_index_has_no_answer():
    assert answerer({}).ask("Is it?").to_dict() == {
        "answer": "Nothing was found: no chunk of the index matches.",
        "status": "not_found",
        "confidence": None,
        "citations": [],
        "candidates": [],
        "considered": [],
    }


def with_relevance(vqa, **relevance):
    """Return an Answerer over red images with these relevances."""
    hits = [replace(hit(name), relevance=value) for name, value in relevance.items()]
    return Answerer(FixedSearch(hits), loaded(vqa), lambda _: (color_frame("red"),))


@pytest.mark.parametrize("question", ["Is it red?", "red"])
def test_a_matcher_that_sees_the_images_decides_with_the_search_what_is_relevant(question):
    hits = [replace(hit(name), relevance=0.3) for name in ("red", "blue")]
    captioned = replace(hit("green"), relevance=0.9, term_share=1.0)
    answering = Answerer(
        FixedSearch([*hits, captioned]),
        loaded(ScriptedVQA({"": ("yes", 0.9)})),
        lambda each: (color_frame(each.id),),
        AnsweringConfig(rank_weight=0.0),
        matcher=loaded(ColorVQA()),
    )
    relevance = {each.id: each.relevance for each in answering.ask(question, min_relevance=0.5).citations}
    assert relevance["red"] == pytest.approx(1 / (1 + np.sqrt(0.7 / 0.3 * 0.01 / 0.99)))
    assert "blue" not in relevance and relevance.get("green", 0.9) == 0.9


def test_a_matcher_that_does_not_know_a_word_decides_nothing():
    class Limited(ColorVQA):
        def knows(self, text):
            return "car" not in text

    answering = replace(with_relevance(ScriptedVQA({"": ("yes", 0.9)}), a=0.3), matcher=loaded(Limited()))
    assert answering.ask("Is it red?", min_relevance=0.5).status == "answered"
    assert answering.ask("Is the car red?", min_relevance=0.5).status == "not_found"


def test_hits_that_are_not_relevant_are_not_examined():
    vqa = ScriptedVQA({"": ("yes", 0.9)})
    answer = with_relevance(vqa, a=0.8, b=0.59, c=0.3).ask("Is it red?", min_relevance=0.6)
    assert (answer.answer, answer.status, len(vqa.asked)) == ("yes", "answered", 1)
    assert [(citation.id, citation.relevance) for citation in answer.citations] == [("a", 0.8)]


def test_a_question_without_relevant_hits_says_what_was_looked_at():
    vqa = ScriptedVQA({"": ("yes", 0.9)})
    answer = with_relevance(vqa, a=0.2, b=0.5, c=0.3, d=0.1).ask("Is it red?", min_relevance=0.6)
    assert answer.answer == "Nothing relevant was found: the best of 4 hits has the relevance 0.50, below 0.60."
    assert (answer.status, answer.confidence, answer.citations, vqa.asked) == ("not_found", None, (), [])
    assert [(each["id"], each["relevance"]) for each in answer.to_dict()["considered"]] == [
        ("b", 0.5),
        ("c", 0.3),
        ("a", 0.2),
    ]


def test_hits_of_unknown_relevance_are_examined():
    vqa = ScriptedVQA({"": ("yes", 0.9)})
    assert with_relevance(vqa, a=None).ask("Is it red?", min_relevance=0.6).answer == "yes"


def test_what_is_not_a_question_is_looked_up():
    vqa = ScriptedVQA({"": ("yes", 0.9)})
    answering = with_relevance(vqa, a=0.8, b=0.2)
    answer = answering.ask("red car at night", min_relevance=0.6)
    assert (answer.status, answer.confidence, vqa.asked) == ("not_a_question", None, [])
    assert [(citation.id, citation.relevance) for citation in answer.citations] == [("a", 0.8)]
    nothing = answering.ask("thanks!", min_relevance=0.9)
    assert nothing.answer.startswith("This is not a question. Nothing relevant was found: the best of 2 hits")
    assert (nothing.status, vqa.asked) == ("not_a_question", [])
    assert [each.id for each in nothing.considered] == ["a", "b"]


def test_a_passage_that_is_looked_up_is_quoted():
    search = FixedSearch([hit("b", "text", text="Dogs are welcome. The night bus leaves every hour.")])
    answer = Answerer(search, loaded(ScriptedVQA({})), lambda _: ()).ask("the night bus")
    assert [citation.quote for citation in answer.citations] == ["The night bus leaves every hour."]


def test_a_passage_with_the_terms_of_the_question_beats_a_weak_match():
    text = "Dogs are welcome. The night bus leaves the market every hour."
    search = FixedSearch([hit("a"), hit("b", "text", text=text)])
    vqa = ScriptedVQA({"": ("car", 0.8)}, fit=0.2)
    answering = Answerer(search, loaded(vqa), lambda h: (color_frame("red"),) * (h.id == "a"), matcher=loaded(vqa))
    answer = answering.ask("When does the night bus leave the market?")
    assert answer.answer == "The night bus leaves the market every hour."
    assert answer.citations[0].quote == answer.answer
    assert answer.citations[0].kind == "text"


def test_ocr_text_is_quoted():
    search = FixedSearch([hit("a", ocr="STREET MARKET\nSATURDAY 9 AM")])
    answering = Answerer(search, loaded(ScriptedVQA({"": ("sign", 0.3)})), lambda _: (color_frame("red"),))
    answer = answering.ask("When is the street market?")
    assert (answer.answer, answer.citations[0].kind) == ("STREET MARKET SATURDAY 9 AM", "image")


def test_an_image_whose_file_is_missing_is_skipped():
    def load(each):
        if each.id == "a":
            raise MediaError("'/a' is missing")
        return (color_frame("blue"),)

    answer = Answerer(FixedSearch([hit("a"), hit("b")]), loaded(ColorVQA()), load, matcher=loaded(ColorVQA())).ask(
        "Which one is blue?"
    )
    assert [citation.id for citation in answer.citations] == ["b"]


def test_the_search_receives_k_kinds_and_filter():
    answering = answerer({"a": color_frame("red")})
    answering.ask("is it red?", k=4, kinds={"image", "text"}, filter={"source": "/a"})
    assert answering.retriever.calls == [
        ("is it red?", 12, frozenset({"image"}), {"source": "/a"}, False),
        ("is it red?", 4, frozenset({"text"}), {"source": "/a"}, False),
    ]


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_refused(question):
    with pytest.raises(InputError, match="the question is empty"):
        answerer({}).ask(question)


def test_the_number_of_citations_is_limited():
    evidence = [Evidence(hit(name), "yes", 0.9) for name in "abcdef"]
    assert len(conclude(evidence, AnsweringConfig(max_citations=2)).citations) == 2


class UnsureVQA:
    """A VisualQA without matching and without confidence, which records the frames."""

    def __init__(self, answers=None):
        self.answers = answers
        self.frames = []

    def answer(self, frame, question):
        self.frames.append(frame)
        answer = ColorVQA().answer(frame, question).answer
        return VQAResult(answer if self.answers is None else self.answers.get(answer, ""), None, ())


def unmatched(frames, vqa=None, **config):
    matched = answerer(frames, ColorVQA(), **config)
    return Answerer(matched.retriever, loaded(vqa or UnsureVQA()), matched.load_frames, matched.config)


def test_without_a_matcher_the_order_of_the_search_decides():
    answering = unmatched({"a": color_frame("blue"), "b": color_frame("red")}, threshold=0.0)
    answer = answering.ask("the red one?", k=2)
    assert answer.answer == "blue"
    assert [citation.id for citation in answer.citations] == ["a"]


def test_a_model_without_confidence_has_none():
    answer = unmatched({"a": color_frame("blue"), "b": color_frame("red")}).ask("Which one is blue?", k=2)
    assert (answer.answer, answer.confidence, answer.candidates) == ("blue", None, ())
    assert [citation.confidence for citation in answer.citations] == [None]
    unknown = unmatched({"a": color_frame("blue"), "b": color_frame("red")}, threshold=0.9).ask("Which one is blue?")
    assert (unknown.status, unknown.confidence, unknown.candidates) == ("unknown", None, ())


def test_without_a_matcher_only_k_hits_are_searched_and_examined():
    answering = unmatched({name: color_frame("red") for name in "abcdefgh"})
    assert answering.ask("Is there anything?", k=3).answer == "red"
    assert answering.retriever.calls[0][1] == 3 and len(answering.vqa.get().frames) == 3


def test_without_a_matcher_the_middle_keyframe_of_a_clip_is_examined():
    clip = tuple(color_frame(color) for color in ("red", "green", "blue"))
    assert unmatched({"a": clip}).ask("What is there?").answer == "green"


def test_without_a_matcher_one_of_many_images_is_hardly_certain():
    frames = {color: color_frame(color) for color in COLORS}
    alone, agreeing = (unmatched(frames, ScriptedVQA({"": ("yes", 0.6)})).ask("Is it?", k=k) for k in (1, 8))
    assert 0.4 < agreeing.confidence < alone.confidence < 0.5
    unsure = UnsureVQA({"black": "a cat"})
    assert unmatched(frames, unsure, threshold=0.6).ask("What is there?", k=8).answer == UNKNOWN


def test_an_empty_answer_is_ignored():
    answer = unmatched({"a": color_frame("red"), "b": color_frame("blue")}, UnsureVQA({"blue": "a bus"})).ask(
        "What is it?", k=2
    )
    assert answer.status == "unknown"
    assert unmatched({"a": color_frame("red")}, UnsureVQA({})).ask("What is it?").to_dict()["candidates"] == []


@pytest.mark.parametrize(("question", "status"), [("Who is there?", "unknown"), ("Is a dog there?", "answered")])
def test_an_open_question_is_not_answered_with_yes(question, status):
    answer = unmatched({"a": color_frame("red")}, ScriptedVQA({"there": ("yes", 0.9)})).ask(question)
    assert answer.status == status and bool(answer.candidates) == (status == "answered")


class WhoReader:
    """Scores sentences with a name 0.9 and others 0.1."""

    reads = frozenset({"text"})

    def score(self, query, candidates):
        return np.array([0.9 if "Ferrier" in text else 0.1 for text in candidates])


def test_a_reader_decides_which_sentence_answers():
    passage = "The clock tower was built of stone. Anton Ferrier was its architect."
    search = FixedSearch([hit("b", "text", text=passage)])
    vqa = loaded(ScriptedVQA({}))
    by_words, read = (Answerer(search, vqa, lambda _: (), reader=reader) for reader in (None, WhoReader()))
    question = "Who built the clock tower?"
    assert by_words.ask(question).status == "unknown", "no sentence that shares words has a name"
    answer = read.ask(question)
    assert (answer.answer, answer.confidence) == ("Anton Ferrier was its architect.", 0.9)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared documents are missing")
@pytest.mark.parametrize(
    ("question", "quote"),
    [
        ("How many heads does the transformer use?", "we employ h = 8 parallel attention layers, or heads"),
        ("How many layers does the encoder have?", "a stack of N = 6 identical layers"),
        ("What optimizer was used?", "We used the Adam optimizer"),
        ("What BLEU score does the big model achieve on WMT 2014 English-to-German?", "BLEU score of 28.4"),
        ("Who proposed the attention?", "Noam proposed scaled dot-product attention"),
    ],
)
def test_a_paper_is_quoted(question, quote):
    paper = chunk(source(SHARED / "documents" / "1706.03762.pdf", "pdf"))
    pages = [hit(str(number), "page", text=page.text) for number, page in enumerate(paper)]
    answer = Answerer(FixedSearch(pages), loaded(ScriptedVQA({})), lambda _: ()).ask(question, k=20)
    assert quote in answer.answer and answer.status == "answered"
