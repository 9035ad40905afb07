"""The pipeline over a real database: what a kill leaves, and threads that share it."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from florence_rag.errors import StoreMismatchError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import COLORS, ColorEmbedder, color_frame

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
    return FlorenceRAG(MilvusIndex.open(str(db), ColorEmbedder.info), ColorEmbedder())


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_is_completed_by_the_next_without_duplicates(tmp_path, folder, stop):
    db = tmp_path / "test.db"
    command = [sys.executable, "-c", SLOW_RUN, str(db), str(folder)]
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


def test_threads_may_search_while_files_are_added(tmp_path, folder):
    def search(rag, color):
        return [color in os.path.basename(hit.source) for hit in rag.search(color, k=1)]

    with open_rag(tmp_path / "test.db") as rag, ThreadPoolExecutor(4) as pool:
        rag.add(*sorted(folder.iterdir())[:20])
        adding = pool.submit(rag.add, folder)
        found = [pool.submit(search, rag, color) for color in list(COLORS)[:4] * 5]
        assert adding.result().added == FILES - 20
        assert all(each.result() == [True] for each in found)


def test_a_database_is_opened_with_the_embedder_that_filled_it(tmp_path, folder):
    with open_rag(tmp_path / "test.db") as rag:
        rag.add(folder)
    other = ColorEmbedder.info.__class__("other", "f", ColorEmbedder.info.dimension, "none")
    with pytest.raises(StoreMismatchError, match=r"colors.*other"):
        MilvusIndex.open(str(tmp_path / "test.db"), other)
    assert MilvusIndex.recorded_embedders(str(tmp_path / "test.db"))[0] == ColorEmbedder.info
