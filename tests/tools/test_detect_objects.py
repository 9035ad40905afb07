"""A detector that knows only its own labels, beside a model that understands words."""

from dataclasses import replace

import pytest

from florence_rag import FlorenceRAG
from florence_rag.context import Models
from florence_rag.perception.base import Detection
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from florence_rag.tools import DetectObjects
from tests.tools.conftest import LookingVQA

CAR, DOG = Detection("car", (0.1, 0.2, 0.4, 0.9), 0.9), Detection("dog", (0.6, 0.2, 0.8, 0.9), 0.7)


class CarsAndDogs:
    def detect(self, frames):
        return [[CAR, DOG] for _ in frames]


class SaysYes(LookingVQA):
    """Points at the left half."""

    def answer(self, frame, question):
        seen = super().answer(frame, question)
        return type(seen)("yes", 0.8, (("yes", 0.8),))


def rag_with(**models):
    embedder = ColorEmbedder()
    return FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, detector=CarsAndDogs(), **models))


@pytest.fixture
def picture(tmp_path):
    from PIL import Image

    Image.fromarray(color_frame("red")).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def boxes(rag, picture, *thing):
    rag.add(picture)
    (hit,) = rag.search("red", k=1)
    return [tuple(each["box"]) for each in DetectObjects(rag)(hit.id, *thing).artifact["objects"]]


def test_all_things_are_listed(picture):
    with rag_with() as rag:
        assert boxes(rag, picture) == [CAR.box, DOG.box]


def test_a_named_thing_is_found_by_its_label(picture):
    with rag_with() as rag:
        assert boxes(rag, picture, "the blue car") == [CAR.box]
        assert boxes(rag, picture, "a cat") == []


def test_what_is_pointed_at_gets_the_box_of_what_stands_there(picture):
    with rag_with(vqa=SaysYes()) as rag:
        assert boxes(rag, picture, "the blue car") == [CAR.box]
        assert boxes(rag, picture, "the dog") == [(0.0, 0.0, 0.5, 1.0)]  # the dog stands elsewhere: it is not that one


class Outlining(CarsAndDogs):
    def segment(self, frame, expression):
        return None if "cat" in expression else replace(CAR, label=expression, polygons=(((0, 0), (1, 0), (1, 1)),))


def test_a_named_thing_is_outlined_where_a_model_can(picture):
    embedder = ColorEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, detector=Outlining())) as rag:
        rag.add(picture)
        tool, (hit,) = DetectObjects(rag), rag.search("red", k=1)
        result = tool(hit.id, "the red car", outline="true")
        assert result.artifact["objects"][0]["polygons"] == [[[0, 0], [1, 0], [1, 1]]]
        assert "the red car: " in result.text and "outlined in the artifact" in result.text
        assert tool(hit.id, "a cat", True).text.endswith("No a cat was found.")
        assert "describe the object" in tool(hit.id, outline=True).text
        assert "outline" in tool.description and len(tool.description) <= 1024
        assert tool.parameters["properties"]["outline"]["type"] == "boolean"


def test_outlines_are_not_offered_where_no_model_draws_them(picture):
    with rag_with() as rag:
        rag.add(picture)
        tool, (hit,) = DetectObjects(rag), rag.search("red", k=1)
        assert "outline" not in tool.description
        assert "omit outline" in tool(hit.id, "the car", True).text
