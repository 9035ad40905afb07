"""The pipeline over a real database: what a kill leaves, threads that share it, and that all databases serve alike."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from PIL import Image

from florence_rag.context import Models
from florence_rag.errors import StoreMismatchError
from florence_rag.index.bulk.export import export, load
from florence_rag.index.milvus import MilvusIndex
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import COLORS, ColorEmbedder, ColorVQA, color_frame
from florence_rag.tools import tools_for
from tests.databases import SERVER

FILES = 40

SLOW_RUN = """
import sys, time
from florence_rag.index.milvus import MilvusIndex
from florence_rag.rag import FlorenceRAG
from florence_rag.ingest.engine import IngestConfig
from florence_rag.testing import ColorEmbedder

class Slow(ColorEmbedder):
    def embed_images(self, frames):
        time.sleep(0.3)
        return super().embed_images(frames)

with FlorenceRAG(MilvusIndex.open(sys.argv[1], Slow.info), Slow(), ingest=IngestConfig(batch_size=4)) as rag:
    rag.add(sys.argv[2], progress=lambda step: print(step.files_done, flush=True))
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    names = list(COLORS)
    for i in range(FILES):
        colors = names[i % len(names)], names[i // len(names)]
        Image.fromarray(color_frame(*colors)).save(folder / f"{i:02}-{'-'.join(colors)}.png")
    return folder


def open_rag(db):
    return FlorenceRAG(MilvusIndex.open(db, ColorEmbedder.info), ColorEmbedder())


@pytest.mark.parametrize(
    "stop", [*(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGINT, signal.SIGTERM)), signal.SIGKILL]
)
def test_a_run_that_is_stopped_is_completed_by_the_next_without_duplicates(db, folder, stop):
    command = [sys.executable, "-c", SLOW_RUN, db, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
        while int(run.stdout.readline() or FILES) < 8:
            pass
        time.sleep(0.1)
        run.send_signal(stop)
        assert run.wait(60) != 0
    with open_rag(db) as rag:
        before = rag.info().sources
        report = rag.add(folder)
        assert (report.unchanged, report.added + report.updated) == (before, FILES - before)
        assert before < FILES
        assert (rag.info().sources, rag.info().chunks) == (FILES, {"image": FILES})
        assert len(rag.search("red", k=100)) == FILES


def test_threads_may_search_while_files_are_added(db, folder):
    def search(rag, color):
        return [color in os.path.basename(hit.source) for hit in rag.search(color, k=1)]

    with open_rag(db) as rag, ThreadPoolExecutor(4) as pool:
        rag.add(*sorted(folder.iterdir())[:20])
        adding = pool.submit(rag.add, folder)
        found = [pool.submit(search, rag, color) for color in list(COLORS)[:4] * 5]
        assert adding.result().added == FILES - 20
        assert all(each.result() == [True] for each in found)


def test_a_database_is_opened_with_the_embedder_that_filled_it(db, folder):
    with open_rag(db) as rag:
        rag.add(folder)
    other = ColorEmbedder.info.__class__("other", "f", ColorEmbedder.info.dimension, "none")
    with pytest.raises(StoreMismatchError, match=r"colors.*other"):
        MilvusIndex.open(db, other)
    assert MilvusIndex.recorded_embedders(db)[0] == ColorEmbedder.info


class BrightEmbedder(ColorEmbedder):
    """Another embedder, to which an index can be moved."""

    info = ColorEmbedder.info.__class__("bright", "b", ColorEmbedder.info.dimension, "none")


def outcomes(uri, folder, work):
    """Yield what the pipeline returns, step by step, over a copy of the folder; no step searches words."""

    def found(rag, k=10, **options):
        hits = rag.index.search_vector(ColorEmbedder().embed_texts(["red"])[0], k, **options)
        # The last digits of equal scores differ, and with them the order.
        return sorted((hit.id, hit.source, hit.kind, round(hit.score, 4), str(hit.metadata)) for hit in hits)

    def counts(report):
        return report.added, report.updated, report.removed, report.unchanged, report.failed

    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(folder, work)
    first, second, *_ = sorted(work.iterdir())
    models = Models.of(ColorEmbedder(), vqa=ColorVQA())
    with FlorenceRAG(MilvusIndex.open(uri, ColorEmbedder.info), models, images=work.parent / "images") as rag:
        yield counts(rag.add(work)), found(rag, k=50), found(rag, k=50, filter={"source": {"$prefix": str(work / "1")}})
        first.unlink()
        Image.fromarray(color_frame("red", "red")).save(second)
        (work / "notes.txt").write_text("The red bus leaves at nine.")
        yield counts(rag.add(work, prune=True)), found(rag, k=50), found(rag, kinds={"text"})

        ids = [id for id, *_ in found(rag, kinds={"image"}, k=50)]
        rag.set_tags({ids[0]: ["wall", "sea"], ids[1]: ["sea"], ids[2]: []})
        yield found(rag, filter={"tags": {"$has": "sea"}}), found(rag, filter={"tags": {"$exists": False}}, k=50)
        yield [rag.ask("what color is the wall?", image=second, cache_answers=True).answer for _ in range(2)]
        yield rag.index.answer_store().count()

        given = {"query": "red", "question": "what color?", "image": ids[0], "id": ids[0], "labels": ["red", "blue"]}
        given |= {
            "images": [ids[0]],
            "like": [ids[0]],
            "text": "red",
            "description": "red",
            "claim": "red",
            "ids": [ids[0]],
        }
        for tool in tools_for(rag):
            names = tool.parameters["properties"].keys() & given.keys()
            text = tool.run(**{name: given[name] for name in names}).text
            if tool.name == "search_images":
                continue
            yield tool.name, re.sub(r"\b[0-9a-f]{12}\b", "", text)  # the fences around texts are random

        stop = Event()
        reports = rag.watch(work, stop=stop)
        yield counts(next(reports))
        Image.fromarray(color_frame("blue", "red")).save(work / "new.png")
        yield counts(next(reports))
        stop.set()
        reports.close()

        shutil.rmtree(work.parent / "files", ignore_errors=True)
        export(rag.index, work.parent / "files")
        load(work.parent / "files", lambda files: MilvusIndex.open(uri, files.embedder, collection="again"))
        with FlorenceRAG(MilvusIndex.open(uri, ColorEmbedder.info, collection="again"), ColorEmbedder()) as again:
            yield found(again, k=50), again.info().chunks

        move = rag.reembed(BrightEmbedder())
        move.fill()
        move.switch()
        yield rag.index.embedder, found(rag, k=50), rag.info().chunks, rag.info().sources


@pytest.mark.skipif(not SERVER, reason="compares the server that FLORENCE_TEST_MILVUS names with Milvus Lite")
def test_a_server_gives_what_milvus_lite_gives(tmp_path, db, folder):
    steps = [outcomes(uri, folder, tmp_path / "work") for uri in (str(tmp_path / "lite.db"), db)]
    on_lite, on_server = (list(each) for each in steps)
    for number, (left, right) in enumerate(zip(on_lite, on_server, strict=True)):
        assert left == right, f"step {number}"
