from pathlib import Path

import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.context import Models
from florence_rag.errors import InputError, ModelError
from florence_rag.testing import ColorEmbedder, MemoryIndex, ScriptedCaptioner, color_frame


@pytest.fixture
def rag():
    embedder = ColorEmbedder()
    captioner = ScriptedCaptioner({"red": "a red wall", "blue": "the sea"})
    return FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, captioner=captioner))


@pytest.fixture
def red(tmp_path) -> Path:
    Image.fromarray(color_frame("red")).save(tmp_path / "red.png")
    return tmp_path / "red.png"


def test_files_pixels_and_ids_are_described(rag, red):
    rag.add(red)
    (hit,) = rag.search("red", k=1)
    captions = rag.describe([red, color_frame("blue"), hit.id, color_frame("green")])
    assert [each.caption for each in captions.images] == ["a red wall", "the sea", "a red wall", ""]
    assert [each.source for each in captions.images[:2]] == [str(red), "the given image"]
    assert (captions.images[2].id, captions.images[2].source) == (hit.id, str(red))
    assert captions.failed == () and captions.to_dict()["images"][0]["caption"] == "a red wall"


def test_unreadable_images_are_reported(rag, red, tmp_path):
    (tmp_path / "no.jpg").write_text("no image")
    captions = rag.describe([tmp_path / "no.jpg", tmp_path / "none.jpg", red, "0" * 32])
    assert [each.caption for each in captions.images] == ["a red wall"]
    assert [Path(each.source).name for each in captions.failed] == ["no.jpg", "none.jpg", "0" * 32]
    assert all("\n" not in each.reason for each in captions.failed)
    assert captions.to_dict()["failed"][0]["source"].endswith("no.jpg")


def test_images_are_described_in_batches(rag):
    rag.describe(color_frame("red") for _ in range(70))
    assert rag.models.captioner.get().batches == [32, 32, 6]


def test_no_images_are_no_error(rag):
    assert rag.describe([]).to_dict() == {"images": (), "failed": ()}


@pytest.mark.parametrize("images", ["red.png", b"red", Path("red.png")])
def test_one_image_is_no_list(rag, images):
    with pytest.raises(InputError, match="images must be a list"):
        rag.describe(images)


def test_without_a_captioner_it_says_what_to_name(red):
    embedder = ColorEmbedder()
    with pytest.raises(ModelError, match="name one with captioner="):
        FlorenceRAG(MemoryIndex(embedder.info), embedder).describe([red])


class PickyCaptioner(ScriptedCaptioner):
    """Fails for several images at once, and for red ones."""

    def caption(self, frames):
        if len(frames) > 1 or "red" in "".join(super().caption(frames)):
            raise ModelError("no red walls")
        return super().caption(frames)


def test_an_image_that_cannot_be_described_is_reported(red):
    embedder = ColorEmbedder()
    captioner = PickyCaptioner({"red": "a red wall", "blue": "the sea"})
    rag = FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, captioner=captioner))
    captions = rag.describe([red, color_frame("blue")])
    assert [each.caption for each in captions.images] == ["the sea"]
    assert [(each.source, each.reason) for each in captions.failed] == [(str(red), "no red walls")]
    with pytest.raises(ModelError, match="no red walls"):
        rag.describe([red, red])
