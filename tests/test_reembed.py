"""An index moves to another embedder while it serves, even if the process is killed during the move."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from florence_rag.context import Models, loaded
from florence_rag.embedding.base import EmbedderCapabilities, unit_rows
from florence_rag.errors import InputError, StoreMismatchError
from florence_rag.image_store import ImageStore
from florence_rag.index.client import ColumnClient
from florence_rag.index.milvus import MilvusIndex
from florence_rag.ingest.engine import IngestConfig
from florence_rag.rag import FlorenceRAG
from florence_rag.reembed import Reembedding
from florence_rag.testing import COLORS, ColorEmbedder, ScriptedCaptioner, color_frame
from florence_rag.types import EmbedderInfo
from tests.chunking.samples import pdf_with_attachment

IMAGES = 9
SMALL = IngestConfig(batch_size=2, threads=1, prefetch=2)


class Killed(BaseException):
    """Stands for the end of the process: no handler of the library catches it."""


class TurnedEmbedder:
    """Projects the colors to seven dimensions, counts what it embeds, and raises Killed after `dies_after` items."""

    info = EmbedderInfo(name="turned", fingerprint="7-colors", dimension=7, preprocessing="none")
    capabilities = EmbedderCapabilities()

    def __init__(self) -> None:
        self.seen = 0
        self.dies_after = 1_000_000
        self._turn = np.random.default_rng(3).normal(size=(ColorEmbedder.info.dimension, 7))

    def embed_images(self, frames):
        self._count(len(frames))
        return unit_rows(ColorEmbedder().embed_images(frames) @ self._turn)

    def embed_texts(self, texts):
        self._count(len(texts))
        return unit_rows(ColorEmbedder().embed_texts(texts) @ self._turn)

    def _count(self, items: int) -> None:
        self.seen += items
        if self.seen > self.dies_after:
            raise Killed


@pytest.fixture
def folder(tmp_path):
    """A folder of nine striped images and two texts."""
    folder = tmp_path / "in"
    folder.mkdir()
    names = list(COLORS)
    for i in range(IMAGES):
        save(folder / f"{i}-{names[i]}-{names[i + 1]}.png", names[i], names[i + 1])
    (folder / "red.txt").write_text("The red house stands near the green lake.")
    (folder / "blue.txt").write_text("A blue boat and a yellow bird.")
    return folder


def save(path, *colors):
    Image.fromarray(color_frame(*colors)).save(path)


@pytest.fixture
def open_rag(db):
    opened = []

    def open_it(embedder=None):
        embedder = embedder or ColorEmbedder()
        opened.append(FlorenceRAG(MilvusIndex.open(db, embedder.info), embedder, ingest=SMALL))
        return opened[-1]

    yield open_it
    for rag in opened:
        rag.index.chunks.connection.close()


@pytest.fixture
def rag(open_rag, folder):
    rag = open_rag()
    assert rag.add(folder).added == IMAGES + 2
    return rag


@pytest.fixture
def turned():
    return TurnedEmbedder()


RUN = """
import sys, time
from florence_rag.index import writer
sys.path.insert(0, sys.argv[1])
import test_reembed as setup

class Slow(setup.TurnedEmbedder):
    def embed_images(self, frames):
        time.sleep(0.2)
        return super().embed_images(frames)

writer.BUFFER_ROWS = 3
embedder = setup.ColorEmbedder()
with setup.FlorenceRAG(setup.MilvusIndex.open(sys.argv[2], embedder.info), embedder) as rag:
    setup.move_to(rag, Slow(), progress=lambda step: print(step.files_done, flush=True)).switch()
"""


def move_to(rag, embedder, **options):
    return Reembedding(rag.context, embedder, SMALL, **options)


def top(rag, text, k=3):
    return [os.path.basename(hit.source) for hit in rag.search(text, k=k)]


def die(rag):
    """Close the connection without a flush, as if the process had ended."""
    rag.index.chunks.connection.close()


def rows(index):
    return {hit.id: hit for hit in index.chunks_of(index.sources())}


def test_what_was_skipped_is_known_after_the_switch(rag, turned, folder):
    (folder / "a.pdf").write_bytes(pdf_with_attachment())
    (folder / "a.mp3").write_bytes(b"x")
    counts = rag.add(folder).skipped_counts
    assert counts.keys() == {".mp3", "attachment"}
    move_to(rag, turned).switch()
    assert rag.info().skipped == rag.add(folder).skipped_counts == counts


def test_the_switched_index_is_as_if_its_files_had_been_indexed_with_the_new_model(
    rag, turned, open_rag, folder, tmp_path
):
    before, sources = rows(rag.index), rag.index.sources()
    with FlorenceRAG(MilvusIndex.open(str(tmp_path / "fresh.db"), turned.info), turned) as fresh:
        fresh.add(folder)
        ids = sorted(rows(fresh.index))
        wanted = fresh.index.vectors(ids)
    report = move_to(rag, turned).switch()
    assert (report.model, report.sources, report.total, report.chunks) == ("turned", 11, 11, 11)
    assert report.switched and report.failed == ()
    rag.close()
    again = open_rag(turned)
    assert rows(again.index) == before and again.index.sources() == sources
    np.testing.assert_allclose(again.index.vectors(ids), wanted, atol=1e-6)
    assert top(again, "red house", 1) == ["red.txt"]
    assert (again.add(folder).unchanged, again.index.info().incomplete) == (11, ())
    with pytest.raises(StoreMismatchError, match=r"was filled by turned .* not by colors"):
        open_rag()


def test_the_index_serves_with_the_old_model_until_the_switch(rag, turned):
    before = [top(rag, color) for color in COLORS]
    seen = []

    def search_meanwhile(step):
        seen.append((step.files_done, step.files_total))
        assert top(rag, "blue") == before[1]

    move = move_to(rag, turned, progress=search_meanwhile)
    report = move.fill()
    assert (report.sources, report.switched) == (11, False)
    assert [top(rag, color) for color in COLORS] == before
    assert seen == sorted(seen) and seen[-1] == (11, 11)
    assert rag.index.embedder == ColorEmbedder.info


@pytest.mark.slow
@pytest.mark.parametrize("dies_after", [0, 1, 6, 10])
def test_after_a_kill_while_embedding_only_the_rest_is_embedded(rag, turned, open_rag, dies_after):
    turned.dies_after = dies_after
    with pytest.raises(Killed):
        move_to(rag, turned).fill()
    rag.close()
    rag, turned = open_rag(), TurnedEmbedder()
    move = move_to(rag, turned)
    done = move.report().sources
    assert dies_after - 3 <= done <= dies_after
    assert move.fill().sources == 11
    assert turned.seen == 11 - done
    assert len(rows(move.shadow)) == 11
    move.fill()
    assert turned.seen == 11 - done


@pytest.mark.slow
def test_a_run_that_is_killed_from_outside_can_be_continued(rag, turned, open_rag, db):
    before = rows(rag.index)
    rag.close()
    command = [sys.executable, "-W", "error", "-c", RUN, os.path.dirname(__file__), db]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as run:
        while int(run.stdout.readline()) < 6:
            pass
        run.kill()
    rag = open_rag()
    assert top(rag, "red house", 1) == ["red.txt"]
    move = move_to(rag, turned)
    done = move.report().sources
    assert 0 < done < 11
    assert move.switch().sources == 11 and turned.seen == 11 - done
    assert rows(rag.index) == before


@pytest.mark.slow
@pytest.mark.parametrize("calls", range(7))
def test_after_a_kill_in_any_write_the_next_run_has_the_same_result_as_without_it(
    rag, turned, open_rag, monkeypatch, db, calls
):
    sources, before = rag.index.sources(), rows(rag.index)
    with monkeypatch.context() as patch:
        left, upsert = [calls], ColumnClient.upsert

        def dying(self, collection, some, **options):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return upsert(self, collection, some, **options)

        patch.setattr(ColumnClient, "upsert", dying)
        with pytest.raises(Killed):
            move = move_to(rag, turned)
            move.fill()
            move.switch()
    die(rag)
    switched = MilvusIndex.recorded_embedders(db)[0] == turned.info
    rag = open_rag(turned if switched else None)
    if not switched:
        move_to(rag, turned).switch()
    assert rag.index.sources() == sources and rows(rag.index) == before
    assert rag.index.vectors(list(before)).shape == (11, 7)


def test_files_added_changed_and_removed_meanwhile_are_moved_too(rag, turned, folder):
    move = move_to(rag, turned)
    move.fill()
    save(folder / "new.png", "red")
    save(folder / "0-black-blue.png", "white", "gray")
    (folder / "red.txt").unlink()
    report = rag.add(folder, prune=True)
    assert (report.added, report.updated, report.removed) == (1, 1, 1)
    embedded = turned.seen
    report = move.switch()
    assert (report.sources, turned.seen - embedded) == (11, 2)
    rag.models.embedder = turned
    assert rag.index.info().sources == 11
    assert top(rag, "red", 1) == ["new.png"]
    assert rag.add(folder).unchanged == 11


def test_a_file_added_during_the_fill_is_embedded_by_it(rag, turned, folder):
    late = iter([True])

    def add_one(step):
        if next(late, False):
            save(folder / "late.png", "pink")
            rag.add(folder)

    assert move_to(rag, turned, progress=add_one).fill().sources == 12


def test_files_that_another_machine_indexes_just_before_the_switch_are_not_lost(rag, turned, folder, db, monkeypatch):
    other = FlorenceRAG(MilvusIndex.open(db, ColorEmbedder.info), ColorEmbedder())
    move = move_to(rag, turned)
    switch = rag.index.switch

    def just_before(shadow):
        save(folder / "late.png", "pink")
        (folder / "blue.txt").unlink()
        other.add(folder, prune=True)
        return switch(shadow)

    monkeypatch.setattr(rag.index, "switch", just_before)
    move.switch()
    other.close()
    names = {os.path.basename(uri) for uri in rag.index.sources()}
    assert "late.png" in names and "blue.txt" not in names
    assert rag.index.vectors([next(rag.index.chunks_of([str(folder / "late.png")])).id]).shape == (1, 7)


def test_words_that_are_read_between_fill_and_switch_are_not_lost(rag, turned, folder):
    rag.models.captioner = loaded(ScriptedCaptioner(dict.fromkeys(COLORS, "a flag")))
    save(folder / "late.png", "pink", "red")
    rag.add(folder, words="never")
    move = move_to(rag, turned)
    move.fill()
    assert rag.add(folder).words_pending == 0
    embedded = turned.seen
    move.switch()
    assert turned.seen == embedded + 1
    assert (rag.info().awaiting_words, rag.add(folder).words_pending) == (0, 0)
    assert [hit.caption for hit in rag.index.chunks_of([str(folder / "late.png")])] == ["a flag"]


def test_a_missing_file_blocks_the_switch_and_is_named(rag, turned, folder):
    lost = folder / "3-green-gray.png"
    lost.unlink()
    move = move_to(rag, turned)
    report = move.fill()
    assert (report.sources, report.total) == (10, 11)
    assert [failure.source for failure in report.failed] == [str(lost)]
    with pytest.raises(InputError, match=r"not switched: 1 files cannot be embedded again, such as .*3-green-gray.png"):
        move.switch()
    assert rag.index.embedder == ColorEmbedder.info
    assert len(rag.index.sources()) == 11 and str(lost) in rag.index.sources()
    save(lost, "green", "gray")
    assert move.switch().sources == 11


def test_a_missing_file_is_listed_as_failed_on_request(rag, turned, folder, open_rag):
    lost, broken = folder / "3-green-gray.png", folder / "broken.png"
    broken.write_bytes(b"\x89PNG no image")
    rag.add(folder)
    lost.unlink()
    report = move_to(rag, turned).switch(unreadable="fail")
    assert (report.sources, report.total, [each.source for each in report.failed]) == (10, 11, [str(lost)])
    rag.close()
    again = open_rag(turned)
    failures = {failure.source: failure.reason for failure in again.index.failures()}
    assert failures.keys() == {str(lost), str(broken)} and "3-green-gray.png" in failures[str(lost)]
    assert str(lost) not in again.index.sources()
    save(lost, "green", "gray")
    assert again.add(folder).added == 1


def test_a_file_that_changed_since_it_was_indexed_is_not_mixed_with_its_old_text(rag, turned, folder):
    changed = folder / "3-green-gray.png"
    save(changed, "red", "red")
    os.utime(folder / "4-gray-orange.png", ns=(1, 1))  # touched, but the same
    report = move_to(rag, turned).fill()
    assert [failure.source for failure in report.failed] == [str(changed)]
    assert "has changed since it was indexed; index it again first" in report.failed[0].reason
    rag.add(folder)
    assert move_to(rag, turned).switch().sources == 11


def test_a_text_needs_no_file(rag, turned, folder):
    (folder / "red.txt").unlink()
    assert move_to(rag, turned).fill().failed == ()


def test_sources_that_have_lost_chunks_are_reported(rag, turned, folder):
    rag.index.mark_incomplete([str(folder / "red.txt")])
    move = move_to(rag, turned)
    (failed,) = move.fill().failed
    assert (failed.source, failed.reason) == (str(folder / "red.txt"), "it has lost chunks: index it again")
    with pytest.raises(InputError, match="not switched: 1 files"):
        move.switch()


def test_images_that_cannot_be_loaded_are_skipped(rag, turned):
    class NoFrames(ImageStore):
        def frames(self, hit):
            return ()

    move = Reembedding(replace(rag.context, images=NoFrames(rag.index)), turned)
    assert len(move.fill().failed) == IMAGES
    with pytest.raises(InputError, match="allowed are 'block' and 'fail'"):
        move.switch(unreadable="skip")


def test_text_vectors_stay_the_same(tmp_path, folder, turned):
    words = ColorEmbedder()
    words.info = replace(ColorEmbedder.info, name="words")
    index = MilvusIndex.open(str(tmp_path / "words.db"), ColorEmbedder.info, text_embedder=words.info)
    with FlorenceRAG(index, Models.of(ColorEmbedder(), text_embedder=words)) as rag:
        rag.add(folder)
        ids = list(rows(rag.index))
        before = rag.index.text_vectors(ids)
        assert before.any(axis=1).sum() == 2
        move_to(rag, turned).switch()
        np.testing.assert_array_equal(rag.index.text_vectors(ids), before)
        assert rag.index.text_embedder == words.info
    with MilvusIndex.open(str(tmp_path / "words.db"), turned.info, text_embedder=words.info) as again:
        assert again.search_text_vector(words.embed_texts(["red and green"])[0], 1)[0].source.endswith("red.txt")


def test_the_overlap_is_reported_before_the_switch(rag, turned):
    move = move_to(rag, turned)
    with pytest.raises(InputError, match="no file has vectors of turned yet; fill first, then compare"):
        move.compare()
    move.fill()
    by_text, near = move.compare(ColorEmbedder(), k=3), move.compare(k=3)
    assert 0 < by_text.mean < 1 and 0 < near.mean < 1
    assert {"The red house stands near the green lake.", "3 green gray"} <= set(by_text.queries)
    assert len(near.queries) == 11 and near.queries[0].startswith("near ")


def test_a_half_filled_index_can_be_rolled_back_and_moved_to_another_model(rag, turned):
    move = Reembedding(rag.context, turned, IngestConfig(batch_size=4))
    move.fill()
    assert move.report().sources == 11
    third = ColorEmbedder()
    third.info = replace(ColorEmbedder.info, name="third")
    with pytest.raises(StoreMismatchError, match=r"is being re-embedded with turned, not with third"):
        move_to(rag, third)
    move.rollback()
    assert move_to(rag, third).report().sources == 0
    with pytest.raises(InputError, match="already has the vectors of colors"):
        move_to(rag, ColorEmbedder())
    assert top(rag, "red house", 1) == ["red.txt"]


def test_an_open_rag_moves_and_continues_with_the_new_embedder(rag, turned, folder):
    move = rag.reembed(turned)
    move.fill()
    assert rag.info().shadow_embedder == turned.info and rag.models.embedder is not turned
    assert move.compare(rag.models.embedder, ["red"], k=3).queries == ("red",)
    assert move.switch().switched
    assert rag.models.embedder is turned and rag.info().shadow_embedder is None
    assert top(rag, "red house", 1) == ["red.txt"]
    assert rag.add(folder).unchanged == 11
    assert rag.items.upsert_texts(["A pink bird."], ids=["pink"]) == ["pink"]
    assert "pink" in [hit.id for hit in rag.search("a pink bird", k=11)]


def test_an_index_for_one_embedder_only_is_refused(turned):
    from florence_rag.testing import MemoryIndex

    embedder = ColorEmbedder()
    with pytest.raises(InputError, match="MemoryIndex cannot hold the vectors of two embedders"):
        FlorenceRAG(MemoryIndex(embedder.info), embedder).reembed(turned)
