import base64
import inspect
import io

import pytest
from PIL import Image

from florence_rag.chunking import read_image
from florence_rag.errors import InputError
from florence_rag.testing import color_frame
from florence_rag.tools import AskImage
from florence_rag.tools.ask_image import PROMPT
from florence_rag.tools.image_argument import PROMPT_PATHS, PROMPT_URLS
from florence_rag.viz.jpeg import data_uri, from_data_uri

QUESTION = "What colour is it?"


def png(*colors):
    buffer = io.BytesIO()
    Image.fromarray(color_frame(*colors)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def striped(rag):
    return rag.search("green yellow", k=1, kinds={"image"})[0]


def test_a_picture_of_the_index_is_asked_by_its_id(rag, striped):
    result = AskImage(rag)(image=striped.id, question=QUESTION)
    assert not result.is_error
    assert result.artifact["answer"] == "green"
    assert result.artifact["confidence"] == pytest.approx(2 / 3, abs=0.05)
    assert [answer for answer, _ in result.artifact["candidates"]] == ["green", "yellow"]
    assert result.artifact["citations"] == [
        {
            "id": striped.id,
            "kind": "image",
            "source": striped.source,
            "locator": {},
            "quote": "",
            "confidence": result.artifact["confidence"],
        }
    ]


def test_the_text_names_answer_confidence_candidates_and_place(rag, striped):
    lines = AskImage(rag)(striped.id, QUESTION).text.splitlines()
    assert lines[0].startswith("green (confidence 0.6")
    assert lines[1].startswith("Other candidates: yellow 0.3")
    assert lines[2] == f"Seen in: [image] green-green-yellow.png, id {striped.id}"


def test_the_answer_is_that_of_the_pipeline(rag, striped):
    seen = rag.ask_image(striped.id, QUESTION)
    artifact = AskImage(rag)(striped.id, QUESTION).artifact
    assert (artifact["answer"], artifact["confidence"]) == (seen.answer, seen.confidence)


def test_bytes_and_data_uris_are_looked_at(rag):
    uri = "data:image/png;base64," + base64.b64encode(png("purple")).decode()
    for image in (png("purple"), uri):
        artifact = AskImage(rag)(image, QUESTION).artifact
        assert artifact["answer"] == "purple"
        assert artifact["citations"][0]["id"] == ""
        assert artifact["citations"][0]["source"] == "the given image"


def test_a_path_is_taken_only_in_the_opened_folder(rag, tmp_path):
    (tmp_path / "p.png").write_bytes(png("pink"))
    closed = AskImage(rag)("p.png", QUESTION)
    opened = AskImage(rag, allow_paths=tmp_path)("p.png", QUESTION)
    assert closed.is_error and "is not an id" in closed.text
    assert opened.artifact["answer"] == "pink"
    assert opened.artifact["citations"][0]["source"] == str(tmp_path / "p.png")


def test_a_source_of_the_index_is_not_opened_by_its_path(rag, striped):
    assert AskImage(rag)(striped.source, QUESTION).is_error


def test_the_prompt_mentions_paths_only_where_they_are_allowed(rag):
    assert "path" not in AskImage(rag).description
    assert "path" in AskImage(rag, allow_paths=".").description


@pytest.mark.parametrize(
    ("image", "question", "message"),
    [
        ("0" * 32, QUESTION, "no chunk has the id"),
        ("", QUESTION, "is not an id"),
        ("not an id", QUESTION, "is not an id"),
        ('x"] or id != "', QUESTION, "is not an id"),
        ("http://localhost/a.png", QUESTION, "URLs are not fetched"),
        (b"", QUESTION, "ask_image failed"),
        (b"not a picture", QUESTION, "ask_image failed"),
        (png("red"), "  ", "question is empty"),
        (png("red"), {"question": "?"}, "question must be of type string"),
    ],
)
def test_a_bad_call_is_answered_with_one_line(rag, image, question, message):
    result = AskImage(rag)(image=image, question=question)
    assert result.is_error
    assert message in result.text
    assert "\n" not in result.text and "Traceback" not in result.text


def test_a_passage_is_not_looked_at(rag):
    passage = rag.search("bus", k=1, kinds={"text"})[0]
    assert "passage of text" in AskImage(rag)(passage.id, QUESTION).text


def test_run_raises_for_programs(rag):
    with pytest.raises(InputError, match="no chunk has the id"):
        AskImage(rag).run("0" * 32, QUESTION)


def test_the_prompt_fits_every_provider():
    """OpenAI takes 1024 characters; more is refused by LlamaIndex before it is sent."""
    assert len(PROMPT + PROMPT_PATHS + PROMPT_URLS) <= 1024
    assert inspect.cleandoc(PROMPT) == PROMPT


def test_the_citation_of_a_picture_without_an_id_brings_its_thumbnail(rag, striped):
    uri = data_uri(color_frame("blue"))
    cited = AskImage(rag)(uri, "What colour?").artifact["citations"][0]
    assert cited["id"] == "" and read_image(from_data_uri(cited["thumbnail"]))[0, 0].argmax() == 2
    assert "thumbnail" not in AskImage(rag)(striped.id, "What colour?").artifact["citations"][0]
