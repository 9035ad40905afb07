import inspect
import json

import pytest

from florence_rag.errors import ModelError
from florence_rag.tools import (
    IMAGE_TOOLS,
    AskImage,
    ClassifyImage,
    DescribeImage,
    DetectObjects,
    FindSimilar,
    FindVideoMoment,
    ReadText,
    Recommend,
    SearchImages,
    TagImage,
    VerifyClaim,
    tools_for,
)

ALL = (
    SearchImages,
    AskImage,
    DescribeImage,
    FindSimilar,
    ReadText,
    DetectObjects,
    ClassifyImage,
    TagImage,
    Recommend,
    FindVideoMoment,
    VerifyClaim,
)

ARGUMENTS = {
    "ask_image": {"question": "What color?"},
    "classify_image": {"labels": ["red", "blue"]},
    "tag_image": {"labels": ["red", "blue"]},
    "recommend": {"kinds": ["image"]},
    "verify_claim": {"claim": "There is a red wall.", "ids": []},
}
"""Further arguments of a tool, next to the image."""


def test_an_index_offers_the_tools_that_its_models_support(bare_rag, rag, full_rag):
    assert [type(tool) for tool in tools_for(bare_rag)] == [
        SearchImages,
        FindSimilar,
        ClassifyImage,
        TagImage,
        Recommend,
        FindVideoMoment,
        VerifyClaim,
    ]
    assert [type(tool) for tool in tools_for(rag)] == [
        SearchImages,
        AskImage,
        FindSimilar,
        ClassifyImage,
        TagImage,
        Recommend,
        FindVideoMoment,
        VerifyClaim,
    ]
    assert [type(tool) for tool in tools_for(full_rag)] == list(ALL)


def test_settings_reach_every_tool_that_takes_an_image(full_rag, tmp_path):
    image_tools = [
        tool for tool in tools_for(full_rag, allow_paths=tmp_path, allow_urls=True) if hasattr(tool, "allow_paths")
    ]
    assert len(image_tools) == 7
    assert all("path" in tool.description and "http" in tool.description for tool in image_tools)


@pytest.mark.parametrize("tool", ALL, ids=lambda tool: tool.name)
def test_every_provider_accepts_the_description(full_rag, tool):
    settings = {"allow_paths": ".", "allow_urls": True} if hasattr(tool, "allow_paths") else {}
    description = tool(full_rag, **settings).description
    assert 300 < len(description) <= 1024  # OpenAI takes 1024 characters
    assert inspect.cleandoc(description) == description
    schema = tool(full_rag).parameters
    assert all(argument["description"] for argument in schema["properties"].values())
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize("tool", [*IMAGE_TOOLS], ids=lambda t: t.name)
@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("0" * 32, "no chunk has the id"),
        ("", "is not an id"),
        ("/etc/passwd", "is not an id"),
        ('x"] or id != "', "is not an id"),
        ("x" * 100_000, "allowed are"),
        ("\udcff", "is not an id"),
        ("http://169.254.169.254/", "URLs are not fetched"),
        ("data:image/png;base64,?", "not valid base64"),
        (b"not an image", "is not an image"),
        ({"id": 1}, "must be of type string"),
    ],
)
def test_an_image_that_cannot_be_opened_is_answered_with_one_line(full_rag, tool, image, message):
    result = tool(full_rag)(image=image, **ARGUMENTS.get(tool.name, {}))
    assert result.is_error
    assert result.text.startswith(f"{tool.name} failed: ") and message in result.text
    assert "\n" not in result.text and len(result.text) < 300


def test_every_artifact_is_json(full_rag):
    image = full_rag.search("red", k=1, kinds={"image"})[0].id
    for tool in tools_for(full_rag):
        first = next(iter(tool.parameters["properties"]))
        value = {"image": image, "like": [image]}.get(first, "red")
        ids = {"ids": [image]} if "ids" in tool.parameters["properties"] else {}
        result = tool(**{first: value, **ARGUMENTS.get(tool.name, {}), **ids})
        assert not result.is_error
        assert json.loads(json.dumps(result.artifact)) == result.artifact
        assert result.artifact["images"][0]["number"] == 1


@pytest.mark.parametrize("tool", [DescribeImage, ReadText, DetectObjects], ids=lambda tool: tool.name)
def test_a_tool_without_its_model_raises(bare_rag, tool):
    image = bare_rag.search("red", k=1, kinds={"image"})[0]
    with pytest.raises(ModelError, match="needs"):
        tool(bare_rag)(image.id)
