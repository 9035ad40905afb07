"""florence-rag describe and detect."""

import base64
from types import SimpleNamespace

import pytest
from PIL import Image

from florence_rag.cli.index import Index
from florence_rag.errors import ModelError
from florence_rag.loading.loaders import CAPTIONER, DETECTOR
from florence_rag.models.registry import DEFAULT
from florence_rag.perception.base import Detection
from florence_rag.testing import ScriptedCaptioner, color_frame
from tests.loading.stand_ins import stand_in


@pytest.fixture
def opened_captioner(monkeypatch):
    names = []

    def load(card, loader):
        names.append((card.name, loader.options.offline))
        return ScriptedCaptioner({"red": "a [red] wall"})

    stand_in(monkeypatch, CAPTIONER, load)
    return names


@pytest.fixture
def files(tmp_path):
    for color in ("red", "blue"):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.png")
    (tmp_path / "no.jpg").write_text("no image")
    return [tmp_path / name for name in ("red.png", "blue.png", "no.jpg")]


def test_describe_prints_captions_and_unreadable_files(run, opened_captioner, files):
    outcome = run("describe", *files, "--captioner", "florence-tiny", "--offline")
    assert outcome.code == 0 and opened_captioner == [("florence-tiny", True)]
    failed, red, wall, blue, nothing = outcome.out.splitlines()
    assert "no.jpg" in failed and "is not an image" in failed
    assert red.endswith("red.png") and wall.strip() == "a [red] wall"
    assert blue.endswith("blue.png") and nothing.strip() == "no caption"


def test_the_json_of_describe_has_captions_and_failures(run, opened_captioner, files):
    record = run("describe", *files, "--json").json
    assert opened_captioner == [("florence-2-base", False)]
    assert record["images"] == [
        {"source": str(files[0]), "caption": "a [red] wall", "id": ""},
        {"source": str(files[1]), "caption": "", "id": ""},
    ]
    assert record["failed"][0]["source"] == str(files[2])


def test_describe_fails_if_no_image_can_be_read(run, opened_captioner, files):
    outcome = run("describe", files[2])
    assert outcome.code == 1 and "none of the images can be read" in outcome.err


def test_a_model_that_cannot_describe_is_one_line(run, files):
    outcome = run("describe", files[0], "--captioner", "siglip2-base")
    assert outcome.code == 1 and outcome.err.count("\n") == 1
    assert "'siglip2-base' lacks the role 'describe'; models with it: florence-tiny, florence-2-base" in outcome.err


def test_a_missing_model_is_one_line(run, files, monkeypatch):
    def missing(card, loader):
        raise ModelError("not here")

    stand_in(monkeypatch, CAPTIONER, missing)
    outcome = run("describe", files[0])
    assert outcome.code == 1 and outcome.err == "Error: not here\n"


@pytest.mark.parametrize("command", [["describe"], ["index", "--model", "florence-tiny", "--db", "a.db"]])
def test_the_size_of_captioned_images_reaches_the_captioner(run, files, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    outcome = run(*command, files[0], "--captioner", "florence-tiny", "--caption-px", "384", "--offline")
    assert outcome.code == 1 and "caption_px is for Florence-2" in outcome.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--caption-px", "384"], "caption_px needs a captioner"),
        (["--caption-px", "385", "--captioner", "never"], "caption_px is 385; give a multiple of 32 of at most 768"),
    ],
)
def test_a_size_that_no_captioner_uses_is_an_error(run, files, tmp_path, options, message):
    outcome = run("index", files[0], "--model", "florence-tiny", "--db", str(tmp_path / "a.db"), *options)
    assert outcome.code == 1 and message in outcome.err


@pytest.mark.parametrize(
    ("captioner", "side_px", "expected"),
    [
        (None, None, True),
        ("florence-2-large", None, True),
        (None, 384, False),
        ("never", None, False),
        ("florence-tiny", None, False),
    ],
)
def test_smaller_images_are_suggested_to_captioners_that_can_scale_them(captioner, side_px, expected):
    rag = SimpleNamespace(models=SimpleNamespace(embedder=SimpleNamespace(info=SimpleNamespace(name=DEFAULT))))
    assert Index(captioner=captioner, caption_px=side_px).can_scale_captions(rag) is expected


def test_describe_without_files_is_a_usage_error(run):
    assert run("describe").code == 2


class LeftHalf:
    def detect(self, frames):
        return [
            [Detection("car", (0.0, 0.0, 0.5, 1.0), 0.875), Detection("dog", (0.5, 0.25, 1.0, 1.0))] for _ in frames
        ]


@pytest.fixture
def opened_detector(monkeypatch):
    names = []

    def load(card, loader):
        names.append((card.name, loader.options.offline))
        return LeftHalf()

    stand_in(monkeypatch, DETECTOR, load)
    return names


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "street.jpg"
    Image.fromarray(color_frame("white", size_px=100)).save(path)
    return path


def test_detect_prints_objects_with_their_boxes(run, opened_detector, image):
    outcome = run("detect", image, "--detector", "florence-tiny", "--offline")
    assert outcome.code == 0 and opened_detector == [("florence-tiny", True)]
    first, car, dog = outcome.out.splitlines()
    assert "street.jpg" in first and "2 found" in first
    assert "car  88%  box 0.00 0.00 0.50 1.00" in car and "dog    box 0.50 0.25 1.00 1.00" in dog


def test_the_json_of_detect_has_a_record_for_each_image(run, opened_detector, image):
    (record,) = run("detect", image, "--json").json["images"]
    assert opened_detector == [("florence-2-base", False)]
    assert record["source"] == str(image)
    assert record["objects"] == [
        {"label": "car", "box": [0.0, 0.0, 0.5, 1.0], "confidence": 0.875},
        {"label": "dog", "box": [0.5, 0.25, 1.0, 1.0], "confidence": None},
    ]


def test_boxes_are_drawn_into_a_copy(run, opened_detector, image, tmp_path):
    (record,) = run("detect", image, "--draw", tmp_path / "drawn", "--json").json["images"]
    with Image.open(record["drawing"]) as drawn:
        assert drawn.size == (100, 100)
        assert drawn.getpixel((50, 80)) != (255, 255, 255)


class Outlining(LeftHalf):
    def segment(self, frame, expression):
        diamond = ((0.5, 0.2), (0.8, 0.5), (0.5, 0.8), (0.2, 0.5))
        return None if "cat" in expression else Detection(expression, (0.2, 0.2, 0.8, 0.8), None, (diamond,))


def test_segment_outlines_and_draws_the_named_object(run, monkeypatch, image, tmp_path):
    stand_in(monkeypatch, DETECTOR, lambda card, loader: Outlining())
    segment = ("detect", image, "--segment", "the red car", "--draw", tmp_path / "drawn")
    (record,) = run(*segment, "--json").json["images"]
    (found,) = record["objects"]
    assert (found["label"], found["box"]) == ("the red car", [0.2, 0.2, 0.8, 0.8])
    assert found["polygons"] == [[[0.5, 0.2], [0.8, 0.5], [0.5, 0.8], [0.2, 0.5]]]
    with Image.open(record["drawing"]) as drawn:
        assert drawn.getpixel((65, 34)) != (255, 255, 255) and drawn.getpixel((50, 50)) == (255, 255, 255)
    assert "the red car    box 0.20 0.20 0.80 0.80  outlines 1" in run(*segment).out
    assert "0 found" in run("detect", image, "--segment", "a cat").out


def test_the_error_about_a_model_that_cannot_segment_names_others(run, opened_detector, image):
    outcome = run("detect", image, "--segment", "the red car", "--detector", "florence-tiny")
    assert outcome.code == 1 and outcome.err.count("\n") == 1
    assert "can segment; name one that can as detector or captioner: florence-2-base" in outcome.err


def test_a_file_that_is_no_image_is_one_line(run, opened_detector, tmp_path):
    (tmp_path / "no.jpg").write_text("no image")
    outcome = run("detect", tmp_path / "no.jpg")
    assert outcome.code == 1 and outcome.err.count("\n") == 1 and "no.jpg" in outcome.err


def test_detect_reports_bad_files_and_reads_the_others(run, opened_detector, image, tmp_path):
    arguments = ("detect", tmp_path / "gone.jpg", image, "--detector", "florence-tiny")
    outcome = run(*arguments)
    assert outcome.code == 0 and "gone.jpg: cannot be opened" in outcome.out and "2 found" in outcome.out
    record = run(*arguments, "--json").json
    assert len(record["images"]) == 1 and [failed["source"] for failed in record["failed"]] == [
        str(tmp_path / "gone.jpg")
    ]


def test_images_with_the_same_name_are_drawn_into_files_of_their_own(run, opened_detector, image, tmp_path):
    (tmp_path / "other").mkdir()
    others = [tmp_path / "other" / name for name in ("street-2.png", "street.png", "STREET.png")]
    for other in others:
        Image.open(image).save(other)
    record = run("detect", image, *others, "--draw", tmp_path / "drawn", "--json").json
    assert [each["drawing"] for each in record["images"]] == [
        str(tmp_path / "drawn" / name) for name in ("street.png", "street-2.png", "street-3.png", "STREET-4.png")
    ]


@pytest.mark.parametrize("command", ["detect", "describe"])
@pytest.mark.parametrize("named", ["{}", "{}/**/*", "file://{}/deep/blue.png"])
def test_folders_patterns_and_urls_name_images(run, opened_detector, opened_captioner, tmp_path, command, named):
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(color_frame("red")).save(folder / "red.png")
    Image.fromarray(color_frame("blue")).save(folder / "deep" / "blue.png")
    (folder / "deep" / "broken.jpg").write_text("no image")
    (folder / "notes.txt").write_text("no image at all")
    outcome = run(command, named.format(folder), "--json")
    names = {each["source"].rpartition("/")[2] for each in outcome.json["images"]}
    assert names == ({"blue.png"} if named.startswith("file") else {"red.png", "blue.png"})


def test_a_data_uri_is_an_image(run, opened_detector, image):
    uri = f"data:image/jpeg;base64,{base64.b64encode(image.read_bytes()).decode()}"
    (record,) = run("detect", uri, "--json").json["images"]
    assert record["source"] == "the given image" and len(record["objects"]) == 2


def test_a_folder_without_images_is_one_line(run, opened_detector, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    outcome = run("detect", tmp_path)
    assert outcome.code == 1 and "there is no image in" in outcome.err and not opened_detector


def test_a_model_that_cannot_detect_is_one_line(run, image):
    outcome = run("detect", image, "--detector", "siglip2-base")
    assert outcome.code == 1
    assert "'siglip2-base' lacks the role 'detect'; models with it: florence-tiny, florence-2-base" in outcome.err
