import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from florence_rag.tools import TagImage


@pytest.fixture
def tool(tmp_path):
    for color in ("red", "blue", "green"):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.png")
    embedder = ColorEmbedder()
    rag = FlorenceRAG(MemoryIndex(embedder.info), embedder)
    rag.add(tmp_path)
    return TagImage(rag)


def test_tags_are_suggested_and_not_written(tool):
    (hit,) = tool.rag.search("blue", k=1)
    result = tool(image=hit.id, labels=["red", "blue"])
    assert result.text.startswith('Tags: "blue" 1.00\nSeen in: [image] "blue.png"')
    assert result.artifact["tags"] == {"blue": 1.0} and result.artifact["id"] == hit.id
    assert "tags" not in tool.rag.get([hit.id])[0].metadata


def test_an_image_without_a_fitting_tag_is_unsure(tool):
    (hit,) = tool.rag.search("green", k=1)
    result = tool(image=hit.id, labels=["red", "blue", "pink"])
    assert result.text.startswith("Unsure; the likeliest tags are ") and result.artifact["unsure"] is True


def test_the_tags_of_the_user_are_the_default(tool):
    (hit,) = tool.rag.search("red", k=1)
    assert "no image has a tag yet" in tool(image=hit.id).text
    tool.rag.set_tags({hit.id: ["blue", "red"]})
    assert tool(image=hit.id).artifact["tags"] == {"red": 1.0}
