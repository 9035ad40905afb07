"""The images of an index: those without a file, image arguments, and the frames of hits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from florence_rag.errors import InputError, MediaError, StoreError
from florence_rag.image_store import ImageStore
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from tests.sources.io.makers import png


@pytest.fixture
def store(tmp_path):
    return ImageStore(MemoryIndex(ColorEmbedder.info), tmp_path / "images")


def test_an_image_is_stored_under_a_name_that_follows_from_the_key(store):
    name = store.store(png("red"), "key")
    assert store.store(png("blue"), "key") == name != store.store(png("blue"), "other")
    with open(store.path(name), "rb") as file:
        assert file.read() == png("blue")


def test_only_stored_images_are_dropped(store, tmp_path):
    path = tmp_path / "own.png"
    path.write_bytes(png("red"))
    name = store.store(png("red"), "key")
    store.drop([name, str(path), ""])
    assert path.exists() and list((tmp_path / "images").iterdir()) == []


def test_a_full_disk_is_one_error_and_leaves_no_part_of_a_file(store, tmp_path, monkeypatch):
    def write(path, data):
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(StoreError, match=r"cannot be written \(No space left on device\); make room, then try again$"):
        store.store(b"image", "key")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_name_that_is_neither_path_nor_stored_is_refused(store):
    with pytest.raises(InputError, match="neither an absolute path nor the name of a stored image"):
        store.path("../up.png")


def test_without_a_folder_images_are_refused():
    with pytest.raises(InputError, match="no folder for images without a file"):
        ImageStore(MemoryIndex(ColorEmbedder.info)).store(png("red"), "key")


@pytest.mark.parametrize("form", ["path", "bytes", "pil", "array"])
def test_image_arguments_are_read(store, tmp_path, form):
    path = tmp_path / "red.png"
    path.write_bytes(png("red"))
    forms = {
        "path": path,
        "bytes": png("red"),
        "pil": Image.fromarray(color_frame("red")),
        "array": color_frame("red"),
    }
    hit, (frame,) = store.resolve(forms[form])
    assert (hit.id, hit.kind) == ("", "image")
    assert np.array_equal(frame, color_frame("red"))


def test_what_cannot_be_resolved_is_an_error(store):
    with pytest.raises(InputError, match="no chunk has the id"):
        store.resolve("f" * 32)
    with pytest.raises(MediaError):
        store.resolve(b"no image")
