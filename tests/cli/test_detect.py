import pytest
from PIL import Image

from florence_rag.context import Models
from florence_rag.loading.loaders import DETECTOR
from florence_rag.perception.base import Detection
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from tests.loading.stand_ins import stand_in


class LeftHalf:
    def detect(self, frames):
        return [
            [Detection("car", (0.0, 0.0, 0.5, 1.0), 0.875), Detection("dog", (0.5, 0.25, 1.0, 1.0))] for _ in frames
        ]


@pytest.fixture
def opened(monkeypatch):
    names = []

    def load(card, loader):
        names.append((card.name, loader.options.offline))
        return LeftHalf()

    stand_in(monkeypatch, DETECTOR, load)
    return names


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "street.jpg"
    Image.fromarray(color_frame("white", size_px=100)).save(path)
    return path


def test_things_are_listed_with_their_places(run, opened, picture):
    outcome = run("detect", picture, "--detector", "florence-tiny", "--offline")
    assert outcome.code == 0 and opened == [("florence-tiny", True)]
    first, car, dog = outcome.out.splitlines()
    assert "street.jpg" in first and "2 found" in first
    assert "car  88%  box 0.00 0.00 0.50 1.00" in car and "dog    box 0.50 0.25 1.00 1.00" in dog


def test_json_has_a_record_for_each_picture(run, opened, picture):
    (record,) = run("detect", picture, "--json").json["images"]
    assert opened == [("florence-2-base", False)]
    assert record["source"] == str(picture)
    assert record["objects"] == [
        {"label": "car", "box": [0.0, 0.0, 0.5, 1.0], "confidence": 0.875},
        {"label": "dog", "box": [0.5, 0.25, 1.0, 1.0], "confidence": None},
    ]


def test_boxes_are_drawn_into_a_copy(run, opened, picture, tmp_path):
    (record,) = run("detect", picture, "--draw", tmp_path / "drawn", "--json").json["images"]
    with Image.open(record["drawing"]) as drawn:
        assert drawn.size == (100, 100)
        assert drawn.getpixel((50, 80)) != (255, 255, 255)


class Outlining(LeftHalf):
    def segment(self, frame, expression):
        diamond = ((0.5, 0.2), (0.8, 0.5), (0.5, 0.8), (0.2, 0.5))
        return None if "cat" in expression else Detection(expression, (0.2, 0.2, 0.8, 0.8), None, (diamond,))


def test_what_is_named_is_outlined_and_drawn(run, monkeypatch, picture, tmp_path):
    stand_in(monkeypatch, DETECTOR, lambda card, loader: Outlining())
    segment = ("detect", picture, "--segment", "the red car", "--draw", tmp_path / "drawn")
    (record,) = run(*segment, "--json").json["images"]
    (found,) = record["objects"]
    assert (found["label"], found["box"]) == ("the red car", [0.2, 0.2, 0.8, 0.8])
    assert found["polygons"] == [[[0.5, 0.2], [0.8, 0.5], [0.5, 0.8], [0.2, 0.5]]]
    with Image.open(record["drawing"]) as drawn:
        assert drawn.getpixel((65, 34)) != (255, 255, 255) and drawn.getpixel((50, 50)) == (255, 255, 255)
    assert "the red car    box 0.20 0.20 0.80 0.80  outlines 1" in run(*segment).out
    assert "0 found" in run("detect", picture, "--segment", "a cat").out


def test_a_model_without_outlines_names_those_that_draw_them(run, opened, picture):
    outcome = run("detect", picture, "--segment", "the red car", "--detector", "florence-tiny")
    assert outcome.code == 1 and outcome.err.count("\n") == 1
    assert "can segment; name one that can as detector or captioner: florence-2-base" in outcome.err


def test_a_file_that_is_no_picture_is_one_line(run, opened, tmp_path):
    (tmp_path / "no.jpg").write_text("no picture")
    outcome = run("detect", tmp_path / "no.jpg")
    assert outcome.code == 1 and outcome.err.count("\n") == 1 and "no.jpg" in outcome.err


def test_bad_files_are_reported_and_the_others_looked_at(run, opened, picture, tmp_path):
    arguments = ("detect", tmp_path / "gone.jpg", picture, "--detector", "florence-tiny")
    outcome = run(*arguments)
    assert outcome.code == 0 and "gone.jpg: cannot be opened" in outcome.out and "2 found" in outcome.out
    record = run(*arguments, "--json").json
    assert len(record["images"]) == 1 and [failed["source"] for failed in record["failed"]] == [
        str(tmp_path / "gone.jpg")
    ]


def test_two_pictures_of_one_name_are_not_drawn_over_each_other(run, opened, picture, tmp_path):
    outcome = run("detect", picture, tmp_path / "street.png", "--draw", tmp_path / "drawn")
    assert outcome.code == 1 and "the same name" in outcome.err


def test_a_model_that_cannot_detect_is_one_line(run, picture):
    outcome = run("detect", picture, "--detector", "siglip2-base")
    assert outcome.code == 1
    assert "'siglip2-base' lacks the role 'detect'; models with it: florence-tiny, florence-2-base" in outcome.err


def test_search_takes_a_part_of_a_picture(run, photos):
    run("index", photos)
    box = ("--image", photos / "red.png", "--box")
    assert run("search", *box, "0,0,0.5,0.5", "-k", 1, "--json").json["hits"][0]["source"].endswith("red.png")
    outcome = run("search", *box, "0,0,0.5")
    assert outcome.code == 1 and "shares of the " in outcome.err


def test_regions_are_listed_by_their_boxes_and_labels(run, monkeypatch, tmp_path):
    models = Models.of(ColorEmbedder(), detector=LeftHalf())
    rag = FlorenceRAG(MemoryIndex(ColorEmbedder.info), models, index_regions=True)
    monkeypatch.setattr(FlorenceRAG, "open", lambda *arguments, **options: rag)
    Image.fromarray(color_frame("red", "blue", size_px=64)).save(tmp_path / "both.png")
    run("index", tmp_path)
    out = run("search", "red", "-k", 1).out
    assert "both.png, box 0.00 0.00 0.50 1.00" in out and "image of car, score" in out
    assert "at box 0.50 0.25 1.00 1.00" in out and "as a whole" in out


def test_a_box_that_is_no_numbers_is_a_usage_error(run, photos):
    outcome = run("search", "--image", photos / "red.png", "--box", "left")
    assert outcome.code == 2 and "give four shares" in outcome.err
