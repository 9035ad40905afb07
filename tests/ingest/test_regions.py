"""The objects that a detector finds are indexed next to their image, found by their own vector, and deleted with it."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from florence_rag.context import Models
from florence_rag.errors import InputError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.ingest.embed_stage import embed_chunks
from florence_rag.ingest.regions import is_region, with_regions
from florence_rag.perception.base import Detection
from florence_rag.rag import FlorenceRAG
from florence_rag.retrieval.query import to_query
from florence_rag.testing import COLORS, ColorEmbedder, MemoryIndex, ScriptedReader, color_frame
from florence_rag.types import Chunk, Source
from florence_rag.viz import thumbnail_of
from florence_rag.viz.drawing import polygons_of

EMBEDDER = ColorEmbedder()


class StripeDetector:
    """Finds every stripe of a color but the first, which is the background."""

    def detect(self, frames):
        return [self._regions(frame) for frame in frames]

    def _regions(self, frame):
        row, width = frame[0], frame.shape[1]
        changes = [0, *(np.flatnonzero((row[1:] != row[:-1]).any(axis=1)) + 1), width]
        names = {color: name for name, color in COLORS.items()}
        return [
            Detection(names[tuple(row[left].tolist())], (left / width, 0.0, right / width, 1.0), 0.9)
            for left, right in pairwise(changes[1:])
        ]


class FailingDetector(StripeDetector):
    def detect(self, frames):
        if any((frame == COLORS["black"]).all(axis=-1).any() for frame in frames):
            raise RuntimeError("black\nmagic")
        return super().detect(frames)


def image(name, *colors):
    return Chunk(Source(f"/{name}", "image", 1, 1, name), "image", frames=(color_frame(*colors),), metadata={"n": 1})


def scripted(*regions):
    class Scripted:
        def detect(self, frames):
            return [list(regions) for _ in frames]

    return Scripted()


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "in"
    path.mkdir()
    # Seven gray parts: the vector of the whole image is far from that of its last part.
    for last in ("red", "blue", "green"):
        Image.fromarray(color_frame(*["gray"] * 7, last, size_px=80)).save(path / f"{last}.png")
    Image.fromarray(color_frame("gray", "gray", "red", size_px=81)).save(path / "much-red.png")
    return path


def rag_with_regions(index=None, ocr="auto", **models):
    models = Models.of(EMBEDDER, detector=StripeDetector(), **models)
    return FlorenceRAG(index or MemoryIndex(EMBEDDER.info), models, index_regions=True, ocr=ocr)


def names(hits):
    return [Path(hit.source).stem for hit in hits]


def test_regions_follow_their_image_with_its_metadata_and_their_label():
    whole, region = with_regions(StripeDetector(), [image("a", "gray", "red")])
    assert not is_region(whole) and is_region(region)
    assert (region.kind, region.locator.box, region.source) == ("image", (0.5, 0.0, 1.0, 1.0), whole.source)
    assert region.metadata == {"n": 1, "label": "red", "confidence": 0.9}
    assert region.frames[0] is whole.frames[0]
    assert whole.id != region.id


def test_the_detector_receives_only_images():
    clip = Chunk(Source("/c", "video", 1, 1, "c"), "clip", frames=(color_frame("red", "blue"),))
    passage = Chunk(Source("/t", "text", 1, 1, "t"), "text", text="red")
    assert with_regions(StripeDetector(), [clip, passage]) == [clip, passage]
    assert with_regions(StripeDetector(), []) == []


def test_the_vector_of_a_region_is_that_of_its_box():
    chunks = with_regions(StripeDetector(), [image("a", "gray", "gray", "red")])
    np.testing.assert_allclose(embed_chunks(EMBEDDER, chunks[1:]) @ EMBEDDER.embed_texts(["red"]).T, 1, atol=0.1)


def test_boxes_outside_the_image_are_clipped_and_empty_or_equal_ones_are_dropped():
    found = scripted(
        Detection("wide", (-0.5, 0.2, 1.5, 0.7), 0.3),
        Detection("flat", (0.1, 0.5, 0.9, 0.5), 0.9),
        Detection("again", (0.0, 0.2, 1.0, 0.70001), 0.8),
        Detection("outside", (1.2, 0.1, 1.4, 0.3), 0.9),
        Detection("", (0.1, 0.1, 0.2, 0.2)),
    )
    _, *regions = with_regions(found, [image("a", "red")])
    assert [(each.locator.box, each.metadata) for each in regions] == [
        ((0.0, 0.2, 1.0, 0.7), {"n": 1, "label": "again", "confidence": 0.8}),
        ((0.1, 0.1, 0.2, 0.2), {"n": 1}),
    ]
    assert len({each.id for each in regions}) == 2


def test_of_very_many_regions_those_with_the_highest_confidence_are_indexed():
    many = [Detection(str(i), (i / 100, 0.0, 1.0, 1.0), i / 100) for i in range(99)]
    _, *regions = with_regions(scripted(*many), [image("a", "red")])
    assert [each.metadata["label"] for each in regions] == [str(i) for i in range(98, 48, -1)]


def test_polygons_are_stored_with_their_region():
    circle = tuple((0.5 + 0.4 * np.cos(a), 0.5 + 0.4 * np.sin(a)) for a in np.linspace(0, 6.28, 3000))
    triangle = ((0.1, -0.1), (0.9, 0.123456), (0.5, 0.9))
    found = scripted(
        Detection("a", (0, 0, 1, 1), 0.9, (triangle,)), Detection("b", (0, 0, 0.5, 1), 0.8, (circle, triangle))
    )
    _, small, large = with_regions(found, [image("a", "red")])
    assert small.metadata["polygons"] == [[[0.1, 0.0], [0.9, 0.1235], [0.5, 0.9]]]
    (outline,) = large.metadata["polygons"]  # of the triangle too little is left
    assert 600 < len(outline) <= 1000 and outline[0] == [0.9, 0.5]


def test_a_stored_region_can_be_drawn_with_its_polygons(folder, tmp_path):
    class Outlines(StripeDetector):
        def _regions(self, frame):
            return [replace(each, polygons=(((0.5, 0.0), (1.0, 1.0), (0.0, 1.0)),)) for each in super()._regions(frame)]

    index = MilvusIndex.open(str(tmp_path / "t.db"), EMBEDDER.info)
    with FlorenceRAG(index, Models.of(EMBEDDER, detector=Outlines()), index_regions=True) as rag:
        rag.add(folder)
        best = rag.search("blue", k=1)[0]
        assert best.locator.box and polygons_of(best) == [[[0.5, 0.0], [1.0, 1.0], [0.0, 1.0]]]
        assert thumbnail_of(rag, best) != thumbnail_of(rag, replace(best, metadata={}))


def test_a_small_object_is_found_with_its_box(folder):
    with rag_with_regions() as rag:
        report = rag.add(folder)
        assert (report.added, report.failed, rag.info().chunks["image"]) == (4, (), 8)
        best = rag.search("red", k=1)[0]
        assert names([best]) == ["red"] or names([best]) == ["much-red"]
        assert best.locator.box is not None and best.metadata["label"] == "red"
        assert names(rag.search("blue", k=1)) == ["blue"]


def test_an_image_is_one_hit_with_its_regions_grouped(folder):
    with rag_with_regions() as rag:
        rag.add(folder)
        hits = rag.search("red", k=10)
        assert sorted(names(hits)) == ["blue", "green", "much-red", "red"]
        best = next(hit for hit in hits if names([hit]) == ["red"])
        assert [moment.locator.box for moment in best.grouped_hits] == [None]
        assert len(rag.search("red", k=10, group=False)) == 8


def test_regions_can_be_filtered_by_their_label(folder):
    with rag_with_regions() as rag:
        rag.add(folder)
        hits = rag.search("red", k=10, filter={"metadata.label": "green"})
        assert [(names([hit])[0], hit.metadata["label"]) for hit in hits] == [("green", "green")]


def test_a_part_of_an_image_can_be_the_query(folder):
    with rag_with_regions() as rag:
        rag.add(folder)
        query = color_frame("blue", "yellow", "yellow", "yellow")
        best = rag.search(image=query, box=(0.0, 0.0, 0.24, 1.0), k=1)[0]
        assert names([best]) == ["blue"] and best.locator.box == (0.875, 0.0, 1.0, 1.0)
        np.testing.assert_allclose(
            rag.retriever.embed_query(to_query(None, query, (0.5, 0, 1, 1))),
            EMBEDDER.embed_texts(["yellow"])[0],
            atol=0.05,
        )
        with pytest.raises(InputError, match="give the image, too"):
            rag.search("red", box=(0, 0, 1, 1))


def test_questions_about_a_region_show_the_whole_image(folder):
    with rag_with_regions() as rag:
        rag.add(folder)
        (frame,) = rag.frames(rag.search("blue", k=1)[0])
        assert frame.shape == (80, 80, 3)


def test_regions_are_updated_and_deleted_with_their_image(folder, tmp_path):
    with rag_with_regions(MilvusIndex.open(str(tmp_path / "t.db"), EMBEDDER.info)) as rag:
        rag.add(folder)
        assert rag.info().chunks == {"image": 8}
        Image.fromarray(color_frame("gray", "pink", "gray", "pink", size_px=80)).save(folder / "red.png")
        (folder / "blue.png").unlink()
        report = rag.add(folder, prune=True)
        assert (report.updated, report.removed) == (1, 1)
        assert rag.info().chunks == {"image": 8 - 2 - 2 + 4}
        assert not rag.info().incomplete
        assert {hit.metadata.get("label") for hit in rag.search("pink", k=20, group=False)} >= {"pink", "green"}
        assert rag.search("blue", k=20, filter={"metadata.label": "blue"}) == []


def test_a_copy_of_a_file_has_the_same_regions(folder, tmp_path):
    with rag_with_regions(MilvusIndex.open(str(tmp_path / "t.db"), EMBEDDER.info)) as rag:
        rag.add(folder)
        (folder / "copy.png").write_bytes((folder / "red.png").read_bytes())
        assert rag.add(folder).added == 1
        copied = [hit for hit in rag.search("red", k=20, group=False) if names([hit]) == ["copy"]]
        assert {hit.locator.box for hit in copied} == {None, (0.875, 0.0, 1.0, 1.0)}


def test_an_image_on_which_the_detector_fails_fails_alone(folder):
    Image.fromarray(color_frame("black")).save(folder / "black.png")
    rag = FlorenceRAG(MemoryIndex(EMBEDDER.info), Models.of(EMBEDDER, detector=FailingDetector()), index_regions=True)
    with rag:
        report = rag.add(folder)
        assert report.added == 4
        assert [failure.reason for failure in report.failed] == ["could not be described: RuntimeError: black magic"]


def test_ocr_text_belongs_to_the_image_and_not_to_its_regions(folder):
    with rag_with_regions(ocr_reader=ScriptedReader({"gray": "EXIT"}), ocr="always") as rag:
        rag.add(folder)
        found = rag.search("red", k=20, group=False)
        assert {hit.ocr for hit in found if hit.locator.box} == {""}
        assert {hit.ocr for hit in found if not hit.locator.box} == {"EXIT"}


def test_without_index_regions_the_detector_only_answers_questions(folder):
    with FlorenceRAG(MemoryIndex(EMBEDDER.info), Models.of(EMBEDDER, detector=StripeDetector())) as rag:
        rag.add(folder)
        assert rag.info().chunks["image"] == 4
