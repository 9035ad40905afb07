"""Files are found by visual similarity first; their words follow, and no interruption loses or repeats any."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from florence_rag.chunking import ChunkingConfig
from florence_rag.context import Models
from florence_rag.errors import InputError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.ingest import words_pass
from florence_rag.ingest.engine import IngestConfig
from florence_rag.ingest.words_pass import by_usefulness
from florence_rag.perception.base import Action
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import (
    ColorEmbedder,
    MemoryIndex,
    ScriptedCaptioner,
    ScriptedReader,
    SynonymEmbedder,
    color_frame,
)
from florence_rag.types import Source
from tests.chunking.samples import write_video

COLORS = ("red", "green", "blue")
TEXTS = {"red": "STOP", "green": "EXIT"}
CAPTIONS = {"red": "a fire engine", "blue": "a lake"}
FILES = 12


class CountingEmbedder(ColorEmbedder):
    """Counts the images that it embeds."""

    def __init__(self):
        self.images = 0

    def embed_images(self, frames):
        self.images += len(frames)
        return super().embed_images(frames)


class Interrupted(Exception):
    """Ends a run from its progress callback, as a job of the server does."""


def save(path, color, size_px=64):
    Image.fromarray(color_frame(color, size_px=size_px)).save(path)


def open_rag(index=None, chunking=None, max_chunks=None, **models):
    roles = {"ocr_reader": ScriptedReader(TEXTS), "captioner": ScriptedCaptioner(CAPTIONS)} | models
    return FlorenceRAG(
        index or MemoryIndex(ColorEmbedder.info),
        Models.of(CountingEmbedder(), **roles),
        ingest=IngestConfig(threads=1, batch_size=2, max_chunks_per_file=max_chunks),
        chunking=chunking,
    )


def contents(index):
    """Return everything that is stored of each chunk, by its id."""
    hits = {hit.id: hit for hit in index.find()}
    ids = list(hits)
    text_vectors = index.text_vectors(ids).tolist() if index.text_embedder else ids
    return {id: (hits[id], *rest) for id, *rest in zip(ids, index.vectors(ids).tolist(), text_vectors, strict=True)}


def interrupt_at(files_done):
    def progress(step):
        if step.task == "words" and step.files_done >= files_done:
            raise Interrupted

    return progress


@pytest.fixture(autouse=True)
def _write_after_every_batch(monkeypatch):
    monkeypatch.setattr(words_pass, "WRITE_S", 0.0)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(FILES):
        save(folder / f"{number:02}.png", COLORS[number % 3], 64 + number)
    return folder


def test_two_passes_store_what_one_stores_and_search_works_between_them(tmp_path, folder):
    texts = SynonymEmbedder("stop halt")
    with MilvusIndex.open(str(tmp_path / "a.db"), ColorEmbedder.info, text_embedder=texts.info) as one:
        assert open_rag(one, text_embedder=texts).add(folder, words="now").words_pending == 0
        expected = contents(one)
    with MilvusIndex.open(str(tmp_path / "b.db"), ColorEmbedder.info, text_embedder=texts.info) as two:
        rag = open_rag(two, text_embedder=texts)
        found = []

        def progress(step):
            if step.task == "words" and not found:
                found.extend(rag.search("red", k=1))
                rag.set_tags({found[0].id: ["mine"]})

        report = rag.add(folder, progress=progress)
        assert (report.added, report.words_pending, two.info().awaiting_words) == (FILES, 0, 0)
        assert (found[0].caption, found[0].ocr) == ("", "")
        hit = expected[found[0].id][0]
        stored = contents(two)
        assert stored[hit.id][0].metadata["tags"] == ["mine"]
        rag.set_tags({hit.id: []})
        assert contents(two) == expected
        assert {rag.search(query, k=1)[0].ocr for query in ("stop", "halt")} == {"STOP"}


def test_an_interrupted_pass_goes_on_and_repeats_nothing(folder):
    rag = open_rag()
    with pytest.raises(Interrupted):
        rag.add(folder, progress=interrupt_at(6))
    pending = rag.info().awaiting_words
    assert 0 < pending <= FILES - 6
    before = rag.models.ocr_reader.get().reads
    report = rag.add(folder)
    assert (report.unchanged, report.words_pending, report.skipped) == (FILES, 0, ())
    assert rag.models.ocr_reader.get().reads - before <= pending
    assert rag.models.embedder.images == FILES
    assert rag.add(folder, progress=interrupt_at(0)).unchanged == FILES  # there is nothing left to read


def test_words_never_leaves_them_to_a_later_run_and_a_few_files_need_one_pass(folder):
    rag = open_rag()
    assert rag.add(folder / "00.png", words="never").words_pending == 1
    assert rag.add(folder, words="never").words_pending == FILES
    assert (rag.info().awaiting_words, rag.info().skipped, rag.models.ocr_reader.get().reads) == (FILES, {}, 0)
    tasks = []
    rag.add(folder / "00.png", progress=lambda step: tasks.append(step.task))
    assert (set(tasks), rag.info().awaiting_words) == ({"words"}, FILES - 1)
    tasks.clear()
    save(folder / "new.png", "red", 99)
    open_rag().add(folder / "new.png", progress=lambda step: tasks.append(step.task))
    assert set(tasks) == {"index"}
    with pytest.raises(InputError, match="words is 'soon'; allowed are 'later', 'now' and 'never'"):
        rag.add(folder, words="soon")


def test_without_a_model_that_reads_words_nothing_is_pending(folder):
    rag = open_rag(ocr_reader=None, captioner=None)
    assert rag.add(folder, words="never").words_pending == 0


def test_copies_get_the_words_of_one_of_them(folder):
    shutil.copy(folder / "00.png", folder / "copy.png")
    rag = open_rag()
    rag.add(folder)
    assert rag.models.ocr_reader.get().reads == FILES
    assert [hit.ocr for hit in rag.index.find(filter={"source": str(folder / "copy.png")})] == ["STOP"]
    assert rag.info().awaiting_words == 0


def test_a_failing_model_leaves_a_file_searchable_and_pending(folder):
    captioner = ScriptedCaptioner(CAPTIONS)
    caption, broken = captioner.caption, True

    def fail_for_red(frames):
        captions = caption(frames)
        if broken and CAPTIONS["red"] in captions:
            raise RuntimeError("out of memory")
        return captions

    captioner.caption = fail_for_red
    rag = open_rag(captioner=captioner)
    report = rag.add(folder)
    assert (report.added, len(report.failed), report.words_pending) == (FILES, 4, 4)
    assert "its words could not be read" in report.failed[0].reason
    assert len(list(rag.index.find())) == FILES
    broken = False
    assert (rag.add(folder).failed, rag.info().awaiting_words) == ((), 0)


def test_a_file_that_changed_or_vanished_between_the_passes_gets_no_wrong_words(folder):
    rag = open_rag()
    changed, gone = folder / "00.png", folder / "03.png"
    content = gone.read_bytes()

    def progress(step):
        if step.task == "index" and step.files_done == FILES and gone.exists():
            save(changed, "green", 80)
            gone.unlink()

    report = rag.add(folder, progress=progress)
    assert {Path(each.source).name for each in report.failed} == {"00.png", "03.png"}
    assert report.words_pending == 0
    assert [hit.ocr for hit in rag.index.find(filter={"source": str(changed)})] == [""]
    gone.write_bytes(content)
    assert rag.add(folder).updated == 1
    assert [hit.ocr for hit in rag.index.find(filter={"source": str(changed)})] == ["EXIT"]
    rag.add(folder, retry=True)
    assert [hit.ocr for hit in rag.index.find(filter={"source": str(gone)})] == ["STOP"]


def test_the_action_of_a_clip_stays_beside_its_caption(tmp_path):
    class Recognizer:
        fps = 2.0

        def recognize(self, samples, end_s):
            assert list(samples)
            return [Action("driving", 0.0, end_s, 0.9)]  # the time of the clip, into which it is merged

        def sentence(self, action):
            return f"somebody is {action.label}"

    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "a.mp4", [color_frame("red", size_px=64)] * 20)
    one, two = open_rag(action_recognizer=Recognizer()), open_rag(action_recognizer=Recognizer())
    one.add(folder, words="now")
    two.add(folder, words="never")
    two.add(folder)
    assert contents(two.index) == contents(one.index)
    assert "a fire engine\nsomebody is driving" in {hit.caption for hit in two.index.find()}


@pytest.mark.parametrize(("first", "second"), [("ocr_reader", "captioner"), ("captioner", "ocr_reader")])
def test_words_that_no_model_of_a_run_reads_stay_pending(folder, first, second):
    shutil.copy(folder / "00.png", folder / "copy.png")
    one = open_rag()
    one.add(folder, words="now")
    rag = open_rag()
    rag.add(folder, words="never")
    for lacking, pending in ((second, FILES + 1), (first, 0)):
        report = open_rag(rag.index, **{lacking: None}).add(folder)
        assert (report.failed, report.words_pending, rag.info().awaiting_words) == ((), pending, pending)
        if pending:
            tasks = []
            open_rag(rag.index, **{lacking: None}).add(
                folder, retry=True, progress=lambda step, tasks=tasks: tasks.append(step)
            )
            assert tasks == []
    assert contents(rag.index) == contents(one.index)


def test_words_that_failed_stay_pending_for_a_retry_with_another_model(folder):
    rag = open_rag()
    rag.add(folder, words="never")
    content = (folder / "00.png").read_bytes()

    def damage(step):
        (folder / "00.png").write_bytes(b"x")

    report = rag.add(folder, progress=damage)
    assert (len(report.failed), report.words_pending, rag.info().awaiting_words) == (1, 0, 0)
    (folder / "00.png").write_bytes(content)
    assert open_rag(rag.index, captioner=None).add(folder, retry=True).words_pending == 1
    assert rag.add(folder).words_pending == 0
    assert [(hit.ocr, hit.caption) for hit in rag.index.find(filter={"source": str(folder / "00.png")})] == [
        ("STOP", CAPTIONS["red"])
    ]


def test_a_video_that_is_cut_into_other_clips_now_is_indexed_again(tmp_path):
    path = write_video(tmp_path / "a.mp4", [color_frame("red", size_px=64)] * 10, rate=1)
    rag = open_rag(chunking=ChunkingConfig(clip_max_s=2.0))
    rag.add(path, words="never")
    assert rag.info().chunks["clip"] == 5
    now, again = open_rag(), open_rag(rag.index)
    now.add(path, words="now")
    report = again.add(path)
    assert (report.updated, report.unchanged, report.failed, report.words_pending) == (1, 0, (), 0)
    assert contents(rag.index) == contents(now.index)
    assert again.add(path).unchanged == 1


def test_a_video_of_which_fewer_clips_are_read_now_keeps_all_and_stays_pending(tmp_path):
    path = write_video(tmp_path / "a.mp4", [color_frame("red", size_px=64)] * 10, rate=1)
    chunking = ChunkingConfig(clip_max_s=2.0)
    rag = open_rag(chunking=chunking)
    rag.add(path, words="never")
    report = open_rag(rag.index, chunking, max_chunks=2).add(path)
    assert "rest of a file with more than 2 chunks" in report.failed[0].reason
    assert (report.words_pending, rag.info().chunks["clip"]) == (1, 5)
    assert rag.add(path).words_pending == 0
    assert {hit.caption for hit in rag.index.find()} == {CAPTIONS["red"]}


def test_documents_come_first_then_the_newest_images():
    sources = [Source(f"/{media}{time}", media, 1, time, "") for media in ("video", "image", "pdf") for time in (1, 2)]
    assert [each.uri for each in sorted(sources, key=by_usefulness)] == [
        "/pdf2",
        "/pdf1",
        "/image2",
        "/image1",
        "/video2",
        "/video1",
    ]


KILLED = """
import os, signal, sys
from florence_rag.ingest import words_pass
from tests.ingest.test_words_pass import *

words_pass.WRITE_S = 0.0
with MilvusIndex.open(sys.argv[1], ColorEmbedder.info) as index:
    def progress(step):
        if step.task == "words" and step.files_done >= int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
    open_rag(index).add(sys.argv[2], progress=progress)
"""


@pytest.mark.slow  # three processes import the package
def test_a_kill_between_and_within_the_passes_loses_nothing(tmp_path, folder):
    db = str(tmp_path / "killed.db")
    with MilvusIndex.open(str(tmp_path / "whole.db"), ColorEmbedder.info) as index:
        open_rag(index).add(folder)
        expected = contents(index)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    for files_done in ("0", "4"):
        command = [sys.executable, "-c", KILLED, db, str(folder), files_done]
        assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    with MilvusIndex.open(db, ColorEmbedder.info) as index:
        rag = open_rag(index)
        pending = index.info().awaiting_words
        assert 0 < pending <= FILES - 4
        assert rag.add(folder).unchanged == FILES
        assert rag.models.ocr_reader.get().reads == pending
        assert rag.models.embedder.images == 0
        assert contents(index) == expected
