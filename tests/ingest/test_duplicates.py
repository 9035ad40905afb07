"""Moved and copied files are recognized by their bytes, near-duplicates by their perceptual hash."""

import os
import shutil

import numpy as np
import pytest
from PIL import ExifTags, Image

from florence_rag.context import Models
from florence_rag.errors import InputError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder, MemoryIndex, ScriptedCaptioner, ScriptedReader, color_frame


class CountingImages(ColorEmbedder):
    def __init__(self):
        self.images = 0

    def embed_images(self, frames):
        self.images += len(frames)
        return super().embed_images(frames)


@pytest.fixture
def rag():
    captioner = ScriptedCaptioner({"red": "a red wall", "blue": "a blue wall"})
    reader = ScriptedReader({"red": "STOP"})
    index = MemoryIndex(ColorEmbedder.info, ColorEmbedder.info)
    return FlorenceRAG(
        index, Models.of(CountingImages(), text_embedder=ColorEmbedder(), ocr_reader=reader, captioner=captioner)
    )


@pytest.fixture
def folder(tmp_path):
    for name, color in {"red.png": "red", "blue.png": "blue"}.items():
        Image.fromarray(color_frame(color)).save(tmp_path / name)
    return tmp_path


def work(rag):
    return rag.models.embedder.images, sum(rag.models.captioner.get().batches)


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


def test_two_files_that_exchange_their_names_are_both_updated(rag, folder):
    rag.add(folder)
    (folder / "red.png").rename(folder / "x.png")
    (folder / "blue.png").rename(folder / "red.png")
    (folder / "x.png").rename(folder / "blue.png")
    assert rag.add(folder).updated == 2
    assert rag.search("a red wall", k=1)[0].source == str(folder / "blue.png")
    assert rag.search("a blue wall", k=1)[0].source == str(folder / "red.png")


def test_a_copy_of_an_unreadable_file_fails_with_its_reason(rag, folder):
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_text("this is no image")
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


# Near-duplicates


@pytest.fixture(params=["memory", "milvus"])
def photo_rag(request, tmp_path):
    info = ColorEmbedder.info
    index = MemoryIndex(info) if request.param == "memory" else MilvusIndex.open(str(tmp_path / "x.db"), info)
    with FlorenceRAG(index, ColorEmbedder()) as rag:
        yield rag


def scene(seed, shift=0):
    """Return a random image; with a shift, like the next shot of a camera that moves a little."""
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8))
    large = coarse.resize((360, 280), Image.Resampling.BICUBIC)
    return large.crop((shift, 0, 320 + shift, 240))


@pytest.fixture
def scenes(tmp_path):
    """A folder of two images, one of them also as a smaller JPEG of low quality."""
    folder = tmp_path / "in"
    folder.mkdir()
    scene(1).save(folder / "a.png")
    scene(1).resize((160, 120)).save(folder / "a_small.jpg", quality=70)
    scene(2).save(folder / "b.png")
    return folder


def names(hits):
    return sorted(os.path.basename(hit.source) for hit in hits)


def test_near_duplicates_are_one_hit_with_the_others_grouped(photo_rag, scenes):
    photo_rag.add(scenes)
    hits = photo_rag.search(image=scenes / "a.png", k=3)
    assert len(hits) == 2
    pair = next(hit for hit in hits if hit.grouped_hits)
    assert names([pair, *pair.grouped_hits]) == ["a.png", "a_small.jpg"]
    assert names(photo_rag.search(image=scenes / "a.png", k=3, group=False)) == ["a.png", "a_small.jpg", "b.png"]


def test_near_duplicates_can_be_separate_hits(photo_rag, scenes):
    photo_rag.add(scenes, near_duplicates="keep")
    assert len(photo_rag.search(image=scenes / "a.png", k=3)) == 3


def test_one_near_duplicate_is_indexed_and_the_other_is_reported_and_not_tried_again(photo_rag, scenes):
    report = photo_rag.add(scenes, near_duplicates="drop")
    assert (report.added, len(report.near_duplicates), report.failed) == (2, 1, ())
    (skipped,) = report.near_duplicates
    assert names(photo_rag.search(image=scenes / "a.png", k=3)) == sorted(
        [os.path.basename(skipped.duplicate_of), "b.png"]
    )
    again = photo_rag.add(scenes, near_duplicates="drop")
    assert (again.added, again.updated, again.unchanged, again.near_duplicates) == (0, 0, 2, (skipped,))
    assert photo_rag.index.failures() == ()
    assert photo_rag.info().sources == 2


def test_a_skipped_near_duplicate_takes_the_place_of_an_original_that_is_gone_or_has_changed(photo_rag, scenes):
    (skipped,) = photo_rag.add(scenes, near_duplicates="drop").near_duplicates
    os.unlink(skipped.duplicate_of)
    report = photo_rag.add(scenes, prune=True, near_duplicates="drop")
    assert (report.added, report.removed, report.near_duplicates) == (1, 1, ())
    scene(1).save(scenes / "again.png")
    (skipped,) = photo_rag.add(scenes, near_duplicates="drop").near_duplicates
    scene(3).save(skipped.duplicate_of, "PNG")
    report = photo_rag.add(scenes, near_duplicates="drop")
    assert (report.added, report.updated, report.near_duplicates) == (1, 1, ())


def test_exact_copies_are_skipped_too_except_one_that_moved(photo_rag, scenes):
    photo_rag.add(scenes / "b.png", near_duplicates="drop")
    shutil.copy(scenes / "b.png", scenes / "copy.png")
    (skipped,) = photo_rag.add(scenes / "copy.png", near_duplicates="drop").near_duplicates
    assert (skipped.source, skipped.duplicate_of) == (str(scenes / "copy.png"), str(scenes / "b.png"))
    (scenes / "copy.png").unlink()
    (scenes / "b.png").rename(scenes / "c.png")
    photo_rag.add(scenes, prune=True, near_duplicates="drop")
    assert str(scenes / "c.png") in photo_rag.index.sources()
    assert str(scenes / "b.png") not in photo_rag.index.sources()


def test_skipped_near_duplicates_are_indexed_when_the_option_changes(photo_rag, scenes):
    photo_rag.add(scenes, near_duplicates="drop")
    assert photo_rag.add(scenes).added == 1
    assert photo_rag.index.rejected() == {}


def test_the_shots_of_a_burst_are_one_hit(photo_rag, scenes):
    for number, time in enumerate(("2026:05:01 12:00:00", "2026:05:01 12:00:02", "2026:05:01 12:05:00")):
        photo = scene(7, shift=10 * number)
        exif = photo.getexif()
        exif[ExifTags.Base.Model] = "Camera"
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = time
        photo.save(scenes / f"shot{number}.jpg", exif=exif)
    photo_rag.add(scenes)
    hits = [
        hit
        for hit in photo_rag.search(image=scenes / "shot0.jpg", k=9)
        if os.path.basename(hit.source).startswith("shot")
    ]
    assert sorted(names([hit, *hit.grouped_hits]) for hit in hits) == [["shot0.jpg", "shot1.jpg"], ["shot2.jpg"]]


def test_an_unknown_option_is_refused(photo_rag, scenes):
    with pytest.raises(InputError, match="near_duplicates is 'hide'; allowed are 'keep', 'link' and 'drop'"):
        photo_rag.add(scenes, near_duplicates="hide")
