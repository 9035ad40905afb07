import base64
import inspect
import io

import pytest
from PIL import Image

from florence_rag.chunking import read_image
from florence_rag.errors import InputError
from florence_rag.testing import color_frame
from florence_rag.tools import AskImage
from florence_rag.tools.image_argument import PROMPT_PATHS, PROMPT_URLS
from florence_rag.viz.thumbnails import data_uri, from_data_uri

QUESTION = "What color is it?"


def png(*colors):
    buffer = io.BytesIO()
    Image.fromarray(color_frame(*colors)).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_indexed_image_is_named_by_its_id(rag, striped):
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
    assert lines[0].startswith('"green" (confidence 0.6')
    assert lines[1].startswith('Other candidates: "yellow" 0.3')
    assert lines[2] == f'Seen in: [image] "green-green-yellow.png", id {striped.id}'


def test_the_answer_is_that_of_the_pipeline(rag, striped):
    seen = rag.ask_image(striped.id, QUESTION)
    artifact = AskImage(rag)(striped.id, QUESTION).artifact
    assert (artifact["answer"], artifact["confidence"]) == (seen.answer, seen.confidence)


def test_bytes_and_data_uris_are_accepted(rag):
    uri = "data:image/png;base64," + base64.b64encode(png("purple")).decode()
    for image in (png("purple"), uri):
        artifact = AskImage(rag)(image, QUESTION).artifact
        assert artifact["answer"] == "purple"
        assert artifact["citations"][0]["id"] == ""
        assert artifact["citations"][0]["source"] == "the given image"


def test_a_path_is_accepted_only_in_the_opened_folder(rag, tmp_path):
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
        (b"not an image", QUESTION, "ask_image failed"),
        (png("red"), "  ", "question is empty"),
        (png("red"), {"question": "?"}, "question must be of type string"),
    ],
)
def test_a_bad_call_is_answered_with_one_line(rag, image, question, message):
    result = AskImage(rag)(image=image, question=question)
    assert result.is_error
    assert message in result.text
    assert "\n" not in result.text and "Traceback" not in result.text


def test_a_passage_has_no_image(rag):
    passage = rag.search("bus", k=1, kinds={"text"})[0]
    assert "passage of text" in AskImage(rag)(passage.id, QUESTION).text


def test_run_raises_for_programs(rag):
    with pytest.raises(InputError, match="no chunk has the id"):
        AskImage(rag).run("0" * 32, QUESTION)


def test_the_prompt_fits_every_provider():
    """OpenAI takes 1024 characters; more is refused by LlamaIndex before it is sent."""
    assert len(AskImage.prompt + PROMPT_PATHS + PROMPT_URLS) <= 1024
    assert inspect.cleandoc(AskImage.prompt) == AskImage.prompt


def test_the_citation_of_an_image_without_an_id_has_a_thumbnail(rag, striped):
    uri = data_uri(color_frame("blue"))
    cited = AskImage(rag)(uri, "What color?").artifact["citations"][0]
    assert cited["id"] == "" and read_image(from_data_uri(cited["thumbnail"]))[0, 0].argmax() == 2
    assert "thumbnail" not in AskImage(rag)(striped.id, "What color?").artifact["citations"][0]


def test_the_region_of_highest_attention_is_reported(full_rag, red):
    result = AskImage(full_rag)(red.id, "What color is it?")
    assert result.artifact["attention"] == {"box": [0.0, 0.0, 0.5, 1.0], "grid": [[0.75, 0.25]], "view": [0, 0, 1, 1]}
    assert result.artifact["citations"][0]["locator"] == {"box": [0.0, 0.0, 0.5, 1.0]}
    assert result.text.splitlines()[-1] == "Highest attention: left 0.00, top 0.00, right 0.50, bottom 1.00"


def test_the_best_keyframe_of_a_clip_is_used(full_rag, long_clip):
    result = AskImage(full_rag)(long_clip.id, "What is red?")
    assert result.artifact["answer"] == "red"
    assert result.artifact["citations"][0]["locator"]["start_s"] == long_clip.locator.start_s
    assert result.artifact["images"] == [{"number": 1, "id": long_clip.id, "keyframe": 2}]


def test_an_unsure_answer_is_marked(full_rag):
    frame = color_frame("red", "blue", "green", "yellow", "purple")
    assert "not sure" in AskImage(full_rag)(data_uri(frame), "What color is it?").text.splitlines()[0]
    assert "not sure" not in AskImage(full_rag)(data_uri(color_frame("red")), "What color is it?").text
