import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.context import LazyValue, Models
from florence_rag.errors import ModelError
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, color_frame
from florence_rag.tools import AskImage
from tests.tasks.test_cached_vqa import Asked


def opened(tmp_path, **options):
    embedder = ColorEmbedder()
    rag = FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, vqa=Asked()), **options)
    for color in ("red", "blue"):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.png")
    rag.add(tmp_path)
    return rag


def test_a_question_to_the_index_is_answered_from_memory_and_says_so(tmp_path):
    rag = opened(tmp_path)
    first = rag.ask("What colour is the red wall?", cache_answers=True)
    looked = len(rag.models.vqa.get().questions)
    again = rag.ask("Which color is the red wall?", cache_answers=True)
    assert looked and len(rag.models.vqa.get().questions) == looked
    assert (again.answer, again.confidence) == (first.answer, first.confidence)
    assert "remembered from" in again.citations[0].remembered
    assert "remembered" not in first.to_dict()["citations"][0] and "remembered" in again.to_dict()["citations"][0]


def test_nothing_is_remembered_unless_asked_for(tmp_path):
    rag = opened(tmp_path)
    for _ in range(2):
        rag.ask("What colour is it?", image=tmp_path / "red.png")
    assert len(rag.models.vqa.get().questions) == 2 and rag.index.answer_store().count() == 0


def test_a_file_that_changed_is_looked_at_again(tmp_path):
    rag = opened(tmp_path, cache_answers=True)

    def ask():
        (hit,) = rag.index.find(filter={"source": str(tmp_path / "red.png")})
        return rag.ask("What colour is it?", image=hit.id)

    assert ask().answer == "red" and ask().citations[0].remembered
    Image.fromarray(color_frame("green", size_px=64)).save(tmp_path / "red.png")
    rag.add(tmp_path)
    assert ask().answer == "green"
    assert [each.answer for each in (pair[0] for pair in rag.index.answer_store()._answers.values())] == ["green"]


def test_an_index_that_remembers_gives_its_memory_to_the_tool(tmp_path):
    tool = AskImage(opened(tmp_path, cache_answers=True))
    (hit,) = tool.rag.search("red", k=1)
    assert "Not looked at again" not in tool(image=hit.id, question="What colour is it?").text
    again = tool(image=hit.id, question="What color is it?")
    assert "From the answer cache: remembered from" in again.text
    assert again.artifact["citations"][0]["remembered"].startswith("remembered from")
    assert len(tool.rag.models.vqa.get().questions) == 1


def test_a_call_may_decline_the_memory_of_an_index(tmp_path):
    rag = opened(tmp_path, cache_answers=True)
    for _ in range(2):
        rag.ask("What colour is it?", image=tmp_path / "red.png", cache_answers=False)
    assert len(rag.models.vqa.get().questions) == 2


def test_another_model_has_another_memory(tmp_path):
    rag = opened(tmp_path, cache_answers=True)
    rag.ask("What colour is it?", image=tmp_path / "red.png")
    rag.models.vqa = LazyValue(ColorVQA)
    assert not rag.ask("What colour is it?", image=tmp_path / "red.png").citations[0].remembered


def test_without_a_model_there_is_nothing_to_remember(tmp_path):
    rag = opened(tmp_path)
    rag.models.vqa = None
    with pytest.raises(ModelError, match="answering needs"):
        rag.ask("What colour is it?", cache_answers=True)
