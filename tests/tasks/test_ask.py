import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.context import LazyValue, Models
from florence_rag.errors import InputError, ModelError
from florence_rag.retrieval import relevance
from florence_rag.retrieval.relevance import Calibration
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, color_frame
from florence_rag.tools import AskImage
from florence_rag.types import KINDS
from tests.tasks.test_answer_cache import RecordingVQA


def open_rag(tmp_path, **options):
    embedder = ColorEmbedder()
    rag = FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, vqa=RecordingVQA()), **options)
    for color in ("red", "blue"):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.png")
    rag.add(tmp_path)
    return rag


def test_a_question_to_the_index_is_answered_from_the_cache(tmp_path):
    rag = open_rag(tmp_path)
    first = rag.ask("What color is the red wall?", cache_answers=True)
    calls = len(rag.models.vqa.get().questions)
    repeated = rag.ask("Which color is the red wall?", cache_answers=True)
    assert calls and len(rag.models.vqa.get().questions) == calls
    assert (repeated.answer, repeated.confidence) == (first.answer, first.confidence)
    assert "cached answer of" in repeated.citations[0].cached_from
    assert repeated.cached_from == repeated.to_dict()["cached_from"] == repeated.citations[0].cached_from
    assert first.cached_from == "" and "cached_from" not in first.to_dict()
    assert "cached_from" not in first.to_dict()["citations"][0] and "cached_from" in repeated.to_dict()["citations"][0]


def test_answers_are_cached_only_on_request(tmp_path):
    rag = open_rag(tmp_path)
    for _ in range(2):
        rag.ask("What color is it?", image=tmp_path / "red.png")
    assert len(rag.models.vqa.get().questions) == 2 and rag.index.answer_store().count() == 0


def test_a_changed_file_is_not_cached(tmp_path):
    rag = open_rag(tmp_path, cache_answers=True)

    def ask():
        (hit,) = rag.index.find(filter={"source": str(tmp_path / "red.png")})
        return rag.ask("What color is it?", image=hit.id)

    assert ask().answer == "red" and ask().citations[0].cached_from
    Image.fromarray(color_frame("green", size_px=64)).save(tmp_path / "red.png")
    rag.add(tmp_path)
    assert ask().answer == "green"
    assert rag.index.answer_store().count() == 1
    assert ask().answer == "green" and ask().citations[0].cached_from


def test_the_tool_uses_the_cache_of_its_index(tmp_path):
    tool = AskImage(open_rag(tmp_path, cache_answers=True))
    (hit,) = tool.rag.search("red", k=1)
    assert "From the answer cache" not in tool(image=hit.id, question="What color is it?").text
    repeated = tool(image=hit.id, question="What color is it?")
    assert 'From the answer cache: "cached answer of' in repeated.text
    assert repeated.artifact["citations"][0]["cached_from"].startswith("cached answer of")
    assert len(tool.rag.models.vqa.get().questions) == 1


def test_a_call_can_disable_the_cache(tmp_path):
    rag = open_rag(tmp_path, cache_answers=True)
    for _ in range(2):
        rag.ask("What color is it?", image=tmp_path / "red.png", cache_answers=False)
    assert len(rag.models.vqa.get().questions) == 2


def test_another_model_has_its_own_cache(tmp_path):
    rag = open_rag(tmp_path, cache_answers=True)
    rag.ask("What color is it?", image=tmp_path / "red.png")
    rag.models.vqa = LazyValue(ColorVQA)
    assert not rag.ask("What color is it?", image=tmp_path / "red.png").citations[0].cached_from


def test_the_cache_needs_a_model(tmp_path):
    rag = open_rag(tmp_path)
    rag.models.vqa = None
    with pytest.raises(ModelError, match="answering needs"):
        rag.ask("What color is it?", cache_answers=True)


def test_only_questions_about_an_image_reach_the_model(tmp_path):
    rag = open_rag(tmp_path)
    answer = rag.ask("thanks!", image=tmp_path / "red.png")
    assert (answer.status, answer.confidence) == ("not_a_question", None)
    with pytest.raises(InputError, match="This is not a question"):
        rag.ask_image(tmp_path / "red.png", "thanks!")
    assert rag.models.vqa.get().questions == []


def test_hits_that_are_not_relevant_are_no_evidence_by_default(tmp_path):
    rag = open_rag(tmp_path)
    rag.models.matcher = None  # that of ColorVQA cannot tell
    assert rag.ask("What is red?").answer == "red"
    nothing = rag.ask("Where is the elephant?")
    assert nothing.status == "not_found" and nothing.considered
    assert rag.ask("Where is the elephant?", min_relevance=0).status != "not_found"


def test_cached_answers_are_deleted(tmp_path):
    rag = open_rag(tmp_path, cache_answers=True)
    rag.ask("What color is it?", image=tmp_path / "red.png")
    assert (rag.clear_answers(), rag.index.answer_store().count()) == (1, 0)
    assert not rag.ask("What color is it?", image=tmp_path / "red.png").citations[0].cached_from


def test_a_cached_answer_about_an_irrelevant_image_is_not_repeated(tmp_path, monkeypatch):
    kinds = dict.fromkeys(KINDS, Calibration(10.0, 0.0, 0.0, -5.0, 0.0, 0.1))
    monkeypatch.setattr(relevance, "_calibrations", lambda: {ColorEmbedder().info.fingerprint: kinds})
    rag = open_rag(tmp_path, cache_answers=True)
    assert rag.ask("What is red?").citations and rag.index.answer_store().count()
    assert rag.ask("What is red?").citations[0].cached_from
    assert rag.ask("What is red?", min_relevance=1).status == "not_found"
