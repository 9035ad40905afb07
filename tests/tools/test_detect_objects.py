from dataclasses import replace

import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.context import Models, loaded
from florence_rag.perception.base import AttentionMap, Detection, VQAResult
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from florence_rag.tools import DetectObjects
from florence_rag.tools.detect_objects import VQAGrounder, grounder_of
from tests.tools.conftest import AttentiveVQA

CAR, DOG = Detection("car", (0.1, 0.2, 0.4, 0.9), 0.9), Detection("dog", (0.6, 0.2, 0.8, 0.9), 0.7)


class CarsAndDogs:
    def detect(self, frames):
        return [[CAR, DOG] for _ in frames]


class YesVQA(AttentiveVQA):
    """Answers yes, and attends to the left half."""

    def answer(self, frame, question):
        result = super().answer(frame, question)
        return type(result)("yes", 0.8, (("yes", 0.8),))


def rag_with(**models):
    embedder = ColorEmbedder()
    return FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, detector=CarsAndDogs(), **models))


@pytest.fixture
def image(tmp_path):
    Image.fromarray(color_frame("red")).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def boxes(rag, image, *phrase):
    rag.add(image)
    (hit,) = rag.search("red", k=1)
    return [tuple(each["box"]) for each in DetectObjects(rag)(hit.id, *phrase).artifact["objects"]]


def test_all_objects_are_listed(image):
    with rag_with() as rag:
        assert boxes(rag, image) == [CAR.box, DOG.box]


def test_a_named_object_is_found_by_its_label(image):
    with rag_with() as rag:
        assert boxes(rag, image, "the blue car") == [CAR.box]
        assert boxes(rag, image, "a cat") == []


def test_a_located_object_has_the_box_of_the_detection_around_its_center(image):
    with rag_with(vqa=YesVQA()) as rag:
        assert boxes(rag, image, "the blue car") == [CAR.box]
        assert boxes(rag, image, "the dog") == [(0.0, 0.0, 0.5, 1.0)]  # the dog is elsewhere, so it is another one


class Outlining(CarsAndDogs):
    def segment(self, frame, expression):
        return None if "cat" in expression else replace(CAR, label=expression, polygons=(((0, 0), (1, 0), (1, 1)),))


def test_a_named_object_is_outlined_if_a_model_can(image):
    embedder = ColorEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, detector=Outlining())) as rag:
        rag.add(image)
        tool, (hit,) = DetectObjects(rag), rag.search("red", k=1)
        result = tool(hit.id, "the red car", outline="true")
        assert result.artifact["objects"][0]["polygons"] == [[[0, 0], [1, 0], [1, 1]]]
        assert '"the red car": ' in result.text and "outlined in the artifact" in result.text
        assert tool(hit.id, "a cat", True).text.endswith('No "a cat" was found.')
        assert "describe the object" in tool(hit.id, outline=True).text
        assert "outline" in tool.description and len(tool.description) <= 1024
        assert tool.parameters["properties"]["outline"]["type"] == "boolean"


def test_outlines_are_not_offered_without_a_segmenter(image):
    with rag_with() as rag:
        rag.add(image)
        tool, (hit,) = DetectObjects(rag), rag.search("red", k=1)
        assert "outline" not in tool.description
        assert "omit outline" in tool(hit.id, "the car", True).text


def test_all_objects_are_found(full_rag, striped):
    result = DetectObjects(full_rag)(striped.id)
    assert result.text.splitlines() == [
        '2 found in [image] "green-green-yellow.png":',
        '"green": left 0.00, top 0.00, right 0.67, bottom 1.00, confidence 0.90',
        '"yellow": left 0.67, top 0.00, right 1.00, bottom 1.00, confidence 0.90',
    ]
    assert [each["label"] for each in result.artifact["objects"]] == ["green", "yellow"]


def test_one_object_is_found_or_not(full_rag, striped):
    tool = DetectObjects(full_rag)
    assert [each["label"] for each in tool(striped.id, "the yellow one").artifact["objects"]] == ["yellow"]
    assert tool(striped.id, "a zebra").text.endswith('No "a zebra" was found.')


class YesNoVQA:
    """Answers yes for walls and no for zebras, and attends to a corner."""

    def __init__(self):
        self.questions = []

    def answer(self, frame, question):
        self.questions.append(question)
        answer = "yes" if "wall" in question else "no" if "zebra" in question else "two"
        return VQAResult(answer, 0.75, ((answer, 0.75),))

    def attention_map(self, frame, question):
        return AttentionMap(None, (0.0, 0.0, 0.25, 0.5))


@pytest.fixture
def attention_rag(rag, monkeypatch):
    vqa = YesNoVQA()
    monkeypatch.setattr(rag.models, "vqa", loaded(vqa))
    monkeypatch.setattr(rag.models, "attention_vqa", loaded(vqa))
    return rag


@pytest.mark.parametrize(
    ("phrase", "question"),
    [
        ("the red wall", "Is there a red wall?"),
        ("An orange wall", "Is there an orange wall?"),
        ("wall", "Is there a wall?"),
        ("theatre wall", "Is there a theatre wall?"),
    ],
)
def test_the_model_is_asked_whether_the_object_is_there(phrase, question):
    model = YesNoVQA()
    (region,) = VQAGrounder(model, model).locate(color_frame("red"), phrase)
    assert model.questions == [question]
    assert (region.label, region.box, region.confidence) == (phrase, (0.0, 0.0, 0.25, 0.5), 0.75)


@pytest.mark.parametrize("phrase", ["a zebra", "a cat"])
def test_an_absent_object_has_no_box(phrase):
    assert VQAGrounder(YesNoVQA(), YesNoVQA()).locate(color_frame("red"), phrase) == []


def test_a_model_with_attention_makes_the_tool_available(rag, attention_rag, red):
    assert DetectObjects.is_available(attention_rag)
    result = DetectObjects(attention_rag)(red.id, "the wall")
    assert result.text.splitlines() == [
        '1 found in [image] "red.png":',
        '"the wall": left 0.00, top 0.00, right 0.25, bottom 0.50, confidence 0.75',
    ]
    assert result.artifact["objects"][0]["box"] == [0.0, 0.0, 0.25, 0.5]
    assert "cannot be listed" in DetectObjects(attention_rag).description


@pytest.mark.parametrize("phrase", [None, "", "  "])
def test_a_model_with_attention_cannot_list_objects(attention_rag, red, phrase):
    result = DetectObjects(attention_rag)(red.id, phrase=phrase)
    assert result.is_error and "describe the object to find" in result.text


def test_a_model_without_attention_cannot_locate(rag):
    assert grounder_of(rag) is None
    assert not DetectObjects.is_available(rag)


def test_a_detector_is_preferred_to_list_objects(full_rag, red):
    assert grounder_of(full_rag) is not None
    assert [each["label"] for each in DetectObjects(full_rag)(red.id).artifact["objects"]] == ["red"]
