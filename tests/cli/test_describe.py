import pytest
from PIL import Image

from florence_rag.errors import ModelError
from florence_rag.loading.loaders import CAPTIONER
from florence_rag.testing import ScriptedCaptioner, color_frame
from tests.loading.stand_ins import stand_in


@pytest.fixture
def opened(monkeypatch):
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
    (tmp_path / "no.jpg").write_text("no picture")
    return [tmp_path / name for name in ("red.png", "blue.png", "no.jpg")]


def test_captions_are_listed_and_what_cannot_be_read_is_named(run, opened, files):
    outcome = run("describe", *files, "--captioner", "florence-tiny", "--offline")
    assert outcome.code == 0 and opened == [("florence-tiny", True)]
    failed, red, wall, blue, nothing = outcome.out.splitlines()
    assert "no.jpg" in failed and "is not an image" in failed
    assert red.endswith("red.png") and wall.strip() == "a [red] wall"
    assert blue.endswith("blue.png") and nothing.strip() == "no caption"


def test_json_has_captions_and_failures(run, opened, files):
    record = run("describe", *files, "--json").json
    assert opened == [("florence-2-base", False)]
    assert record["images"] == [
        {"source": str(files[0]), "caption": "a [red] wall", "id": ""},
        {"source": str(files[1]), "caption": "", "id": ""},
    ]
    assert record["failed"][0]["source"] == str(files[2])


def test_it_fails_where_nothing_can_be_read(run, opened, files):
    outcome = run("describe", files[2])
    assert outcome.code == 1 and "none of the images can be read" in outcome.err


def test_a_model_that_cannot_describe_is_one_line(run, files):
    outcome = run("describe", files[0], "--captioner", "siglip2-base")
    assert outcome.code == 1 and outcome.err.count("\n") == 1
    assert "'siglip2-base' lacks the role 'describe'; models with it: florence-tiny, florence-2-base" in outcome.err


def test_a_model_that_is_not_there_is_told_before_pictures_are_read(run, files, monkeypatch):
    def missing(card, loader):
        raise ModelError("not here")

    stand_in(monkeypatch, CAPTIONER, missing)
    outcome = run("describe", files[2])
    assert outcome.code == 1 and outcome.err == "Error: not here\n"


def test_without_files_it_is_a_usage_error(run):
    assert run("describe").code == 2
