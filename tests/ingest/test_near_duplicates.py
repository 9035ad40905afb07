"""Pictures that look the same are one hit, or one of them is indexed."""

import os
import shutil

import numpy as np
import pytest
from PIL import ExifTags, Image

from florence_rag.errors import InputError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder, MemoryIndex


@pytest.fixture(params=["memory", "milvus"])
def rag(request, tmp_path):
    info = ColorEmbedder.info
    index = MemoryIndex(info) if request.param == "memory" else MilvusIndex.open(str(tmp_path / "x.db"), info)
    with FlorenceRAG(index, ColorEmbedder()) as rag:
        yield rag


def scene(seed, shift=0):
    """A picture like no other; with a shift, as the next shot of a hand that is not quite still."""
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8))
    large = coarse.resize((360, 280), Image.Resampling.BICUBIC)
    return large.crop((shift, 0, 320 + shift, 240))


@pytest.fixture
def folder(tmp_path):
    """a, and a again smaller and worse; b."""
    folder = tmp_path / "in"
    folder.mkdir()
    scene(1).save(folder / "a.png")
    scene(1).resize((160, 120)).save(folder / "a_small.jpg", quality=70)
    scene(2).save(folder / "b.png")
    return folder


def names(hits):
    return sorted(os.path.basename(hit.source) for hit in hits)


def test_they_are_one_hit_with_the_others(rag, folder):
    rag.add(folder)
    hits = rag.search(image=folder / "a.png", k=3)
    assert len(hits) == 2
    pair = next(hit for hit in hits if hit.grouped_hits)
    assert names([pair, *pair.grouped_hits]) == ["a.png", "a_small.jpg"]
    assert names(rag.search(image=folder / "a.png", k=3, group=False)) == ["a.png", "a_small.jpg", "b.png"]


def test_they_can_be_kept_apart(rag, folder):
    rag.add(folder, near_duplicates="keep")
    assert len(rag.search(image=folder / "a.png", k=3)) == 3


def test_one_of_them_is_indexed_and_the_other_told_and_not_tried_again(rag, folder):
    report = rag.add(folder, near_duplicates="drop")
    assert (report.added, len(report.near_duplicates), report.failed) == (2, 1, ())
    (left,) = report.near_duplicates
    assert names(rag.search(image=folder / "a.png", k=3)) == sorted([os.path.basename(left.duplicate_of), "b.png"])
    again = rag.add(folder, near_duplicates="drop")
    assert (again.added, again.updated, again.unchanged, again.near_duplicates) == (0, 0, 2, (left,))
    assert rag.index.failures() == ()
    assert rag.info().sources == 2


def test_one_that_was_left_out_takes_the_place_of_one_that_is_gone_or_has_changed(rag, folder):
    (left,) = rag.add(folder, near_duplicates="drop").near_duplicates
    os.unlink(left.duplicate_of)
    report = rag.add(folder, prune=True, near_duplicates="drop")
    assert (report.added, report.removed, report.near_duplicates) == (1, 1, ())
    scene(1).save(folder / "again.png")
    (left,) = rag.add(folder, near_duplicates="drop").near_duplicates
    scene(3).save(left.duplicate_of, "PNG")
    report = rag.add(folder, near_duplicates="drop")
    assert (report.added, report.updated, report.near_duplicates) == (1, 1, ())


def test_exact_copies_are_left_out_too_but_for_one_that_moved(rag, folder):
    rag.add(folder / "b.png", near_duplicates="drop")
    shutil.copy(folder / "b.png", folder / "copy.png")
    (left,) = rag.add(folder / "copy.png", near_duplicates="drop").near_duplicates
    assert (left.source, left.duplicate_of) == (str(folder / "copy.png"), str(folder / "b.png"))
    (folder / "copy.png").unlink()
    (folder / "b.png").rename(folder / "c.png")
    rag.add(folder, prune=True, near_duplicates="drop")
    assert str(folder / "c.png") in rag.index.sources()
    assert str(folder / "b.png") not in rag.index.sources()


def test_who_changes_his_mind_gets_them_all(rag, folder):
    rag.add(folder, near_duplicates="drop")
    assert rag.add(folder).added == 1
    assert rag.index.skipped() == {}


def test_the_shots_of_a_burst_are_one_hit(rag, folder):
    for number, time in enumerate(("2026:05:01 12:00:00", "2026:05:01 12:00:02", "2026:05:01 12:05:00")):
        picture = scene(7, shift=10 * number)
        exif = picture.getexif()
        exif[ExifTags.Base.Model] = "Camera"
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = time
        picture.save(folder / f"shot{number}.jpg", exif=exif)
    rag.add(folder)
    hits = [
        hit for hit in rag.search(image=folder / "shot0.jpg", k=9) if os.path.basename(hit.source).startswith("shot")
    ]
    assert sorted(names([hit, *hit.grouped_hits]) for hit in hits) == [["shot0.jpg", "shot1.jpg"], ["shot2.jpg"]]


def test_no_other_choice(rag, folder):
    with pytest.raises(InputError, match="near_duplicates is 'hide'; allowed are 'keep', 'link' and 'drop'"):
        rag.add(folder, near_duplicates="hide")
