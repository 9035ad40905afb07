import json
import time

import numpy as np
import pytest
import torch
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.embedding.base import EmbedderCapabilities
from florence_rag.errors import InputError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.maintenance import doctor
from florence_rag.maintenance.doctor import diagnose
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from tests.index.damaged_rows import flip


class RandomEmbedder(ColorEmbedder):
    """Embeds every text as a vector of its own."""

    def embed_texts(self, texts):
        rows = [np.random.default_rng(len(text)).normal(size=self.info.dimension) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


@pytest.fixture
def rag(db, tmp_path):
    embedder = RandomEmbedder()
    with FlorenceRAG(MilvusIndex.open(db, embedder.info), embedder, images=tmp_path / "images") as rag:
        rag.items.upsert_texts(["x" * length for length in range(1, 31)], ids=[f"t{n}" for n in range(30)])
        yield rag


def advised(rag) -> set[str]:
    return {each.name for each in diagnose(rag.context).measurements if each.advice} - {"store"}


def test_nothing_is_wrong_with_a_sound_index(rag):
    diagnosis = diagnose(rag.context)
    assert diagnosis["recall"].value == 1 and diagnosis["duplicates"].value == 0
    assert advised(rag) == set()
    record = json.loads(json.dumps(diagnosis.to_dict()))
    assert record["healthy"] is diagnosis.is_healthy and len(record["measurements"]) == 9


def test_wrong_vectors_are_counted_and_change_nothing_else(rag):
    flip(rag.index, "t3", vector=[0.0] * 12)
    flip(rag.index, "t4", vector=[0.5] * 12)
    diagnosis = diagnose(rag.context)
    assert diagnosis["bad vectors"].value == 2 and "repair" in diagnosis["bad vectors"].advice
    assert (diagnosis["duplicates"].value, advised(rag)) == (0, {"bad vectors"})


def test_an_index_that_misses_neighbors_is_found_out(rag, monkeypatch):
    search = rag.index.search_vector
    monkeypatch.setattr(rag.index, "search_vector", lambda vector, k, **more: search(vector, 2 * k, **more)[::2])
    recall = diagnose(rag.context)["recall"]
    assert recall.value == pytest.approx(0.5, abs=0.06) and "--index-type flat" in recall.advice


def test_copies_are_counted_once_each(rag):
    rag.items.upsert_images([color_frame("red")] * 3 + [color_frame("blue")], ids=["a", "b", "c", "d"])
    diagnosis = diagnose(rag.context)
    assert diagnosis["duplicates"].value == pytest.approx(2 / 34) and diagnosis["duplicates"].advice
    assert diagnosis["recall"].value == 1  # copies are equally near


def test_files_that_were_not_read_are_counted(rag, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/broken.jpg").write_text("no image")
    (tmp_path / "photos/song.mp3").write_bytes(b"x")
    Image.fromarray(color_frame("red")).save(tmp_path / "photos/red.png")
    rag.add(tmp_path / "photos")
    diagnosis = diagnose(rag.context)
    assert (diagnosis["failed files"].value, diagnosis["skipped files"].value) == (1, 1)
    assert advised(rag) == {"failed files"}


@pytest.mark.parametrize(
    "device,usable,files,cuda,advice",
    [
        ("cpu", True, 0, "13.0", "without device='cpu'"),
        ("cuda:0", True, 0, "13.0", ""),
        ("", True, 0, "13.0", ""),
        ("cpu", False, 0, None, ""),
        ("cpu", False, 1, None, "built for CUDA"),
        ("cpu", False, 1, "13.0", "driver for CUDA 13.0"),
    ],
)
def test_an_idle_gpu_is_found(rag, monkeypatch, tmp_path, device, usable, files, cuda, advice):
    monkeypatch.setattr(rag.models.embedder, "capabilities", EmbedderCapabilities(device=device), raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(doctor, "_NVIDIA", tmp_path / "gpus")
    (tmp_path / "gpus").mkdir()
    for number in range(files):
        (tmp_path / "gpus" / str(number)).touch()
    gpu = doctor._gpu(rag.models.embedder)
    assert bool(gpu.advice) == bool(advice) and advice in gpu.advice


def test_a_slow_stage_is_named(rag, monkeypatch):
    embed = rag.models.embedder.embed_texts
    monkeypatch.setattr(rag.models.embedder, "embed_texts", lambda texts: (time.sleep(0.1), embed(texts))[1])
    monkeypatch.setattr(doctor, "_SLOW_S", 0.05)
    slow = diagnose(rag.context)["slow stages"]
    assert slow.value >= 0.1 and "the backend openvino" in slow.advice


def test_only_an_index_in_milvus_can_be_measured():
    with pytest.raises(InputError, match="MemoryIndex"):
        diagnose(FlorenceRAG(MemoryIndex(ColorEmbedder.info), ColorEmbedder()).context)


def test_an_empty_index_has_nothing_to_measure(db):
    with FlorenceRAG(MilvusIndex.open(db, ColorEmbedder.info), ColorEmbedder()) as rag:
        assert diagnose(rag.context)["recall"].value is None and advised(rag) == set()
