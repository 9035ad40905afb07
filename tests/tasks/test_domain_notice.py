import logging

import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.context import Models
from florence_rag.datasets.demo_corpus import ASSETS, is_demo_file
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, color_frame
from florence_rag.types import EmbedderInfo
from langchain_florence import FlorenceRetriever, FlorenceVectorStore
from llama_index_florence import FlorenceVectorStore as LlamaIndexStore


class Tiny(ColorEmbedder):
    info = EmbedderInfo("florence-tiny", "x", ColorEmbedder.info.dimension, "x")


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "holiday.jpg"
    Image.fromarray(color_frame("red")).save(path)
    return path


def opened(photo, embedder):
    rag = FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, vqa=ColorVQA()))
    rag.add(photo)
    return rag


ANSWERS = {
    "search": lambda rag, photo: rag.search("red"),
    "search by image": lambda rag, photo: rag.search(image=photo),
    "moments": lambda rag, photo: rag.find_moments("red") or rag.search("red"),
    "ask": lambda rag, photo: rag.ask("What is red?"),
    "ask about a file": lambda rag, photo: rag.ask("What color is it?", image=photo),
    "ask_image": lambda rag, photo: rag.ask_image(photo, "What color is it?"),
    "LangChain retriever": lambda rag, photo: FlorenceRetriever(rag=rag).invoke("red"),
    "LangChain store": lambda rag, photo: FlorenceVectorStore(rag).similarity_search("red"),
    "LlamaIndex store": lambda rag, photo: rag.retriever.search_by_vector(
        LlamaIndexStore(rag).embed_model.get_query_embedding("red")
    ),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_model_for_synthetic_scenes_says_once_that_photographs_are_new_to_it(photo, caplog, answer):
    rag = opened(photo, Tiny())
    assert caplog.messages == []
    for _ in range(3):
        answer(rag, photo)
    (message,) = caplog.messages
    assert message.startswith("florence-tiny knows only synthetic street scenes")
    assert "holiday.jpg" in message and "reembed --to " in message and "\n" not in message


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_other_models_say_nothing(photo, caplog, answer):
    answer(opened(photo, ColorEmbedder()), photo)
    assert caplog.messages == []


def test_the_demo_corpus_and_texts_are_no_photographs(tmp_path, caplog):
    (tmp_path / "notes.txt").write_text("The red bus leaves at nine.")
    rag = FlorenceRAG(MemoryIndex(Tiny.info), Tiny())
    rag.add(ASSETS / "corpus" / "photos", tmp_path / "notes.txt")
    with caplog.at_level(logging.WARNING):
        assert rag.search("red", k=20)
    assert caplog.messages == []


def test_an_image_without_a_file_tells_nothing_about_its_origin(photo, caplog):
    rag = FlorenceRAG(MemoryIndex(Tiny.info), Models.of(Tiny(), vqa=ColorVQA()))
    rag.ask_image(photo.read_bytes(), "What color is it?")
    assert caplog.messages == []
    rag.ask_image(photo, "What color is it?")
    assert len(caplog.messages) == 1


def test_demo_files_are_known_by_folder_and_name():
    assert is_demo_file("/anywhere/photos/street-01.jpg") and is_demo_file("/x/videos/line-four.mp4")
    assert not is_demo_file("/anywhere/street-01.jpg") and not is_demo_file("/photos/holiday.jpg")
    assert not is_demo_file("item:1") and not is_demo_file("")
