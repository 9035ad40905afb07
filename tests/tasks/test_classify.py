from pathlib import Path

import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.errors import InputError
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame


@pytest.fixture
def rag(tmp_path):
    embedder = ColorEmbedder()
    return FlorenceRAG(MemoryIndex(embedder.info), embedder, classifiers=tmp_path / "classifiers")


@pytest.fixture
def data(tmp_path) -> Path:
    """Warm and cold images, three of each."""
    for label, colors in {"warm": ("red", "orange", "yellow"), "cold": ("blue", "green", "purple")}.items():
        (tmp_path / "data" / label).mkdir(parents=True)
        for color in colors:
            Image.fromarray(color_frame(color)).save(tmp_path / "data" / label / f"{color}.png")
    return tmp_path / "data"


def test_files_and_pixels_are_classified_by_labels(rag, data):
    found = rag.classify([data / "warm" / "red.png", color_frame("blue")], labels=["red", "blue"])
    assert [each.label for each in found.images] == ["red", "blue"] and found.failed == ()
    assert found.images[0].source.endswith("red.png")


def test_all_images_of_the_index_are_classified_by_their_stored_vectors(rag, data, monkeypatch):
    rag.add(data)
    monkeypatch.setattr(rag.models.embedder, "embed_images", None)
    found = rag.classify(labels=["red", "blue", "green", "yellow", "orange", "purple"])
    assert [Path(each.source).stem for each in found.images] == [each.label for each in found.images]
    assert all(rag.get([each.id])[0].source == each.source for each in found.images)
    one = rag.classify(labels=["red", "blue"], filter={"source": str(data / "warm" / "red.png")})
    assert [each.label for each in one.images] == ["red"]


def test_an_indexed_image_is_named_by_its_id(rag, data):
    rag.add(data)
    (hit,) = rag.search("purple", k=1)
    (found,) = rag.classify([hit.id], labels=["red", "purple"]).images
    assert (found.label, found.id, found.source) == ("purple", hit.id, hit.source)
    assert "no chunk has the id" in rag.classify(["0" * 32], labels=["red", "purple"]).failed[0].reason


def test_a_probe_is_trained_stored_and_used_by_its_name(rag, data, tmp_path):
    trained = rag.classifiers.train(data, "climate")
    assert trained.examples == {"cold": 3, "warm": 3} and trained.failed == ()
    assert Path(trained.file) == tmp_path / "classifiers" / "climate.safetensors"
    assert rag.classifiers.names() == ["climate"]
    found = rag.classify([color_frame("yellow"), color_frame("blue", "green")], probe="climate")
    assert [each.label for each in found.images] == ["warm", "cold"]
    assert rag.classify([color_frame("red")], probe=trained.file).images[0].label == "warm"


def test_missing_and_damaged_files_are_reported(rag, data):
    table = data / "set.csv"
    (data / "no.jpg").write_text("no image")
    table.write_text("warm/red.png,warm\nmissing.png,warm\nno.jpg,cold\ncold/blue.png,cold\n")
    trained = rag.classifiers.train(table, "climate")
    assert trained.examples == {"cold": 1, "warm": 1} and trained.accuracy is None
    assert [Path(failure.source).name for failure in trained.failed] == ["missing.png", "no.jpg"]
    found = rag.classify([data / "missing.png", data / "warm" / "red.png"], probe="climate")
    assert len(found.failed) == 1 and found.images[0].label == "warm"
    table.write_text("missing.png,warm\nno.jpg,cold\n")
    with pytest.raises(InputError, match="none of the 2 images"):
        rag.classifiers.train(table, "climate")


def test_wrong_requests_are_explained(rag, data):
    for options in ({}, {"labels": ["a", "b"], "probe": "x"}):
        with pytest.raises(InputError, match="give either labels"):
            rag.classify([], **options)
    with pytest.raises(InputError, match="there is no classifier 'pets'"):
        rag.classify([], probe="pets")
    with pytest.raises(InputError, match="a filter chooses"):
        rag.classify([], labels=["a", "b"], filter={"kind": "image"})
    with pytest.raises(InputError, match="images must be a list"):
        rag.classify("red.png", labels=["a", "b"])
    (data / "cold").rename(data / ".cold")
    with pytest.raises(InputError, match="fewer than two"):
        rag.classifiers.train(data, "climate")


def test_a_server_has_no_folder_for_classifiers(data, tmp_path):
    embedder = ColorEmbedder()
    rag = FlorenceRAG(MemoryIndex(embedder.info), embedder)
    with pytest.raises(InputError, match="give the path of a file, climate"):
        rag.classifiers.train(data, "climate")
    rag.classifiers.train(data, str(tmp_path / "climate.safetensors"))
    assert rag.classify([color_frame("red")], probe=tmp_path / "climate.safetensors").images[0].label == "warm"
