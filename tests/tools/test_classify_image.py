from pathlib import Path

import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from florence_rag.tools import ClassifyImage


@pytest.fixture
def tool(folder, tmp_path):
    for label, color in (("warm", "red"), ("cold", "blue")):
        (tmp_path / "data" / label).mkdir(parents=True)
        Image.fromarray(color_frame(color)).save(tmp_path / "data" / label / "1.png")
    embedder = ColorEmbedder()
    rag = FlorenceRAG(MemoryIndex(embedder.info), embedder, classifiers=tmp_path / "classifiers")
    rag.add(folder)
    rag.classifiers.train(tmp_path / "data", "climate")
    return ClassifyImage(rag)


def test_an_indexed_image_is_classified(tool):
    (hit,) = tool.rag.search("blue", k=1, kinds={"image"})
    result = tool(image=hit.id, labels=["red", "blue"])
    assert result.text.startswith('"blue" (confidence 1.00)\nOther candidates: "red" 0.00\nSeen in: [image] "blue.png"')
    assert result.artifact["label"] == "blue" and result.artifact["id"] == hit.id
    assert result.artifact["citation"]["source"] == hit.source and result.images[0].id == hit.id


def test_a_trained_classifier_is_offered_and_used_by_name_only(tool):
    assert 'trained for this index: "climate".' in tool.description
    (hit,) = tool.rag.search("red", k=1, kinds={"image"})
    assert tool(image=hit.id, classifier="climate").artifact["label"] == "warm"
    file = str(Path(tool.rag.classifiers.folder) / "climate.safetensors")
    refused = tool(image=hit.id, classifier=file)
    assert refused.is_error and 'there is "climate"' in refused.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either labels"),
        ({"labels": ["red"]}, "fewer than two"),
        ({"labels": ["red", ""]}, "fewer than two"),
        ({"labels": ["red", "RED"]}, "differ in case alone"),
    ],
)
def test_a_wrong_call_is_explained(tool, arguments, message):
    result = tool(image="x", **arguments)
    assert result.is_error and message in result.text and "\n" not in result.text
