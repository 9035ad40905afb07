"""Moved and copied files are recognised by their bytes."""

import shutil

import pytest
from PIL import Image

from florence_rag.context import Models
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder, MemoryIndex, ScriptedCaptioner, ScriptedReader, color_frame


class Counting(ColorEmbedder):
    def __init__(self):
        self.pictures = 0

    def embed_images(self, frames):
        self.pictures += len(frames)
        return super().embed_images(frames)


@pytest.fixture
def rag():
    captioner = ScriptedCaptioner({"red": "a red wall", "blue": "a blue wall"})
    reader = ScriptedReader({"red": "STOP"})
    index = MemoryIndex(ColorEmbedder.info, ColorEmbedder.info)
    return FlorenceRAG(
        index, Models.of(Counting(), text_embedder=ColorEmbedder(), ocr_reader=reader, captioner=captioner)
    )


@pytest.fixture
def folder(tmp_path):
    for name, color in {"red.png": "red", "blue.png": "blue"}.items():
        Image.fromarray(color_frame(color)).save(tmp_path / name)
    return tmp_path


def work(rag):
    return rag.models.embedder.pictures, sum(rag.models.captioner.get().batches)


def test_a_copy_is_found_like_its_original_and_costs_nothing(rag, folder):
    rag.add(folder)
    before = work(rag)
    shutil.copy(folder / "red.png", folder / "again.png")
    assert rag.add(folder).added == 1
    assert work(rag) == before
    hits = {hit.source: hit for hit in rag.search("red", group=False) if hit.source.endswith(("red.png", "again.png"))}
    copy, original = hits[str(folder / "again.png")], hits[str(folder / "red.png")]
    assert copy.id != original.id
    assert (copy.caption, copy.ocr, copy.metadata) == (original.caption, original.ocr, original.metadata)
    assert (rag.index.vectors([copy.id]) == rag.index.vectors([original.id])).all()
    assert len(rag.index.search_text_vector(ColorEmbedder().embed_texts(["red"])[0], 2)) == 2


def test_copies_in_one_run_share_one_embedding(rag, folder):
    shutil.copy(folder / "red.png", folder / "again.png")
    assert rag.add(folder).added == 3
    assert work(rag) == (2, 2)
    assert len(rag.index.sources()) == 3


def test_a_file_that_moved_is_not_embedded_again(rag, folder):
    rag.add(folder)
    before = work(rag)
    (folder / "red.png").rename(folder / "moved.png")
    report = rag.add(folder, prune=True)
    assert (report.added, report.removed, work(rag)) == (1, 1, before)
    assert [hit.source for hit in rag.search("a red wall", k=1)] == [str(folder / "moved.png")]
    assert set(rag.index.sources()) == {str(folder / "moved.png"), str(folder / "blue.png")}


def test_two_files_that_exchange_their_names_are_both_right(rag, folder):
    rag.add(folder)
    (folder / "red.png").rename(folder / "x.png")
    (folder / "blue.png").rename(folder / "red.png")
    (folder / "x.png").rename(folder / "blue.png")
    assert rag.add(folder).updated == 2
    assert rag.search("a red wall", k=1)[0].source == str(folder / "blue.png")
    assert rag.search("a blue wall", k=1)[0].source == str(folder / "red.png")


def test_a_copy_of_what_cannot_be_read_fails_with_its_reason(rag, folder):
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_text("this is no picture")
    report = rag.add(folder)
    assert sorted(failure.source for failure in report.failed) == [str(folder / "a.jpg"), str(folder / "b.jpg")]
    assert report.added == 2


def test_progress_counts_copies_too(rag, folder):
    shutil.copy(folder / "red.png", folder / "again.png")
    steps = []
    rag.add(folder, progress=steps.append)
    assert {step.files_total for step in steps} == {3}
    assert [step.files_done for step in steps] == sorted(step.files_done for step in steps)
    assert (steps[-1].files_done, steps[-1].chunks) == (3, 3)
