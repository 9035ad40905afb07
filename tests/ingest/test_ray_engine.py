"""The stages of an index run on a local Ray cluster of several worker processes."""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import ray
from PIL import Image

from florence_rag.context import Models
from florence_rag.errors import InputError, ModelError
from florence_rag.index import store_client
from florence_rag.index.milvus import MilvusIndex
from florence_rag.ingest.embed_stage import EmbedStage
from florence_rag.ingest.ray_engine import RayConfig, RayEngine
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import COLORS, ColorEmbedder, color_frame
from florence_rag.types import Frame

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # Ray's own
EMBEDDER = ColorEmbedder()


class Mortal(ColorEmbedder):
    """Kills the process that it is in, once: the first to find the note."""

    def __init__(self, note: Path) -> None:
        self._note = note

    def embed_images(self, frames: Sequence[Frame]) -> np.ndarray:
        try:
            self._note.unlink()
        except FileNotFoundError:
            return super().embed_images(frames)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Ill(ColorEmbedder):
    def embed_images(self, frames: Sequence[Frame]) -> np.ndarray:
        raise ModelError("the model is ill")


def no_ocr() -> None:
    return None


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, (first, second) in enumerate(product(COLORS, COLORS)):
        Image.fromarray(np.ascontiguousarray(color_frame(first, second))).save(folder / f"{number:03}.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("\n\n".join(f"Paragraph {i}. " + "words " * 200 for i in range(40)))
    return folder


@pytest.fixture
def server(engine_uri, monkeypatch) -> str:
    """Milvus Lite over gRPC: to us a server, which it says it is not."""
    monkeypatch.setattr(store_client, "server_problem", lambda version: "")
    return engine_uri


def on_ray(embedder: ColorEmbedder = EMBEDDER):
    load_embed = partial(EmbedStage.from_models, Models.of(embedder))
    return partial(RayEngine, load_embed, no_ocr, config=RayConfig(actors=2, batch_size=8))


def contents(rag):
    """All that is stored: ids with their vectors, and sources."""
    hits = list(rag.index.find())
    vectors = rag.index.vectors([hit.id for hit in hits])
    return {hit.id: (hit.source, hit.text, tuple(vector)) for hit, vector in zip(hits, vectors, strict=True)}


def test_ids_and_vectors_equal_those_of_one_machine(photos, server, tmp_path):
    with FlorenceRAG(MilvusIndex.open(str(tmp_path / "here.db"), EMBEDDER.info), EMBEDDER) as here:
        report_here, here_all = here.add(photos), contents(here)
    with FlorenceRAG(MilvusIndex.open(server, EMBEDDER.info), EMBEDDER) as there:
        steps = []
        report = there.add(photos, progress=steps.append, engine=on_ray())
        assert contents(there) == here_all
        assert there.info().incomplete == ()
        assert there.add(photos, engine=on_ray()).unchanged == report.added
    assert (report.added, report.failed) == (report_here.added, report_here.failed)
    assert len(report.failed) == 1 and report.failed[0].source.endswith("broken.jpg")
    assert steps[-1].files_done == steps[-1].files_total
    assert steps[-1].busy.keys() >= {"read", "embed", "store"}


def test_a_worker_that_is_killed_is_replaced(photos, server, tmp_path):
    note = tmp_path / "die"
    note.touch()
    with FlorenceRAG(MilvusIndex.open(server, EMBEDDER.info), EMBEDDER) as rag:
        report = rag.add(photos, engine=on_ray(Mortal(note)))
        assert not note.exists()
        stored = contents(rag)
        assert rag.info().incomplete == ()
    with FlorenceRAG(MilvusIndex.open(str(tmp_path / "here.db"), EMBEDDER.info), EMBEDDER) as here:
        assert here.add(photos).added == report.added
        assert contents(here) == stored


def test_the_error_of_a_model_is_raised_unchanged(photos, tmp_path):
    with (
        FlorenceRAG(MilvusIndex.open(str(tmp_path / "a.db"), EMBEDDER.info), EMBEDDER) as rag,
        pytest.raises(ModelError, match=r"^the model is ill$"),
    ):
        rag.add(photos, engine=on_ray(Ill()))


@pytest.mark.parametrize("wrong", [{"actors": 0}, {"batch_size": 0}, {"gpus": -1}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match="at least"):
        RayConfig(**wrong)


@pytest.mark.slow
def test_a_missing_cluster_is_an_error_of_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code = f"""
from florence_rag.ingest.ray_engine import *
from florence_rag.types import Source
engine = RayEngine(None, None, iter, RayConfig(address="127.0.0.1:{port}"))
try:
    list(engine.run([Source("/a", "image", 1, 1, "a")], None, (), None))
except FlorenceError as error:
    print(error)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.startswith(f"there is no Ray cluster at '127.0.0.1:{port}' (") and output.count("\n") == 1
