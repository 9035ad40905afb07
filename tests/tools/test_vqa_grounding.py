import pytest

from florence_rag.context import loaded
from florence_rag.perception.base import AttentionMap, VQAResult
from florence_rag.testing import color_frame
from florence_rag.tools import DetectObjects
from florence_rag.tools.vqa_grounding import VQAGrounder, vqa_grounder_of


class YesOrNo:
    """Answers whether a picture is red or has what the question names, and looks at a corner of it."""

    def __init__(self):
        self.asked = []

    def answer(self, frame, question):
        self.asked.append(question)
        seen = "yes" if "wall" in question else "no" if "zebra" in question else "two"
        return VQAResult(seen, 0.75, ((seen, 0.75),))

    def attention_map(self, frame, question):
        return AttentionMap(None, (0.0, 0.0, 0.25, 0.5))


@pytest.fixture
def pointing_rag(rag, monkeypatch):
    vqa = YesOrNo()
    monkeypatch.setattr(rag.models, "vqa", loaded(vqa))
    monkeypatch.setattr(rag.models, "attention_vqa", loaded(vqa))
    return rag


@pytest.fixture
def red(rag):
    return rag.search("red", k=1, kinds={"image"})[0]


@pytest.mark.parametrize(
    ("thing", "question"),
    [
        ("the red wall", "Is there a red wall?"),
        ("An orange wall", "Is there an orange wall?"),
        ("wall", "Is there a wall?"),
        ("theatre wall", "Is there a theatre wall?"),
    ],
)
def test_it_is_asked_whether_the_thing_is_there(thing, question):
    model = YesOrNo()
    (region,) = VQAGrounder(model, model).locate(color_frame("red"), thing)
    assert model.asked == [question]
    assert (region.label, region.box, region.confidence) == (thing, (0.0, 0.0, 0.25, 0.5), 0.75)


@pytest.mark.parametrize("thing", ["a zebra", "a cat"])
def test_what_is_not_there_has_no_place(thing):
    assert VQAGrounder(YesOrNo(), YesOrNo()).locate(color_frame("red"), thing) == []


def test_a_model_that_shows_where_it_looks_serves_the_tool(rag, pointing_rag, red):
    assert DetectObjects.serves(pointing_rag)
    result = DetectObjects(pointing_rag)(red.id, "the wall")
    assert result.text.splitlines() == [
        "1 found in [image] red.png:",
        "the wall: left 0.00, top 0.00, right 0.25, bottom 0.50, confidence 0.75",
    ]
    assert result.artifact["objects"][0]["box"] == [0.0, 0.0, 0.25, 0.5]
    assert "cannot be listed" in DetectObjects(pointing_rag).description


@pytest.mark.parametrize("thing", [None, "", "  "])
def test_it_cannot_list_what_is_not_named(pointing_rag, red, thing):
    result = DetectObjects(pointing_rag)(red.id, thing=thing)
    assert result.is_error and "describe the object to find" in result.text


def test_a_model_that_only_answers_cannot_point(rag):
    assert vqa_grounder_of(rag) is None
    assert not DetectObjects.serves(rag)


def test_a_detector_goes_first(full_rag, red):
    assert vqa_grounder_of(full_rag) is not None
    assert [thing["label"] for thing in DetectObjects(full_rag)(red.id).artifact["objects"]] == ["red"]
