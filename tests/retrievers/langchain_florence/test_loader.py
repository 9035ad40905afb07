import json
import logging

import pytest
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from PIL import Image

from florence_rag import ChunkingConfig, FlorenceRAG
from florence_rag.errors import InputError, MediaError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.testing import ColorEmbedder, color_frame
from langchain_florence import FlorenceLoader, FlorenceVectorStore
from tests.retrievers.conftest import SHOTS, draw_video


class CountingEmbedder(ColorEmbedder):
    count = 0

    def embed_texts(self, texts):
        self.count += len(texts)
        return super().embed_texts(texts)

    def embed_images(self, frames):
        self.count += len(frames)
        return super().embed_images(frames)


@pytest.fixture
def embedder():
    return CountingEmbedder()


@pytest.fixture
def store(tmp_path, embedder):
    with FlorenceVectorStore(FlorenceRAG(MilvusIndex.open(str(tmp_path / "i.db"), embedder.info), embedder)) as store:
        yield store


@pytest.fixture
def records():
    records = InMemoryRecordManager("test")
    records.create_schema()
    return records


@pytest.fixture(params=["incremental", pytest.param("scoped_full", marks=pytest.mark.slow), "full"])
def run_index(request, store, records):
    """Return a function that indexes paths through LangChain and returns its counts."""

    def run(*paths, **options):
        chunking = options.pop("chunking", None)
        done = index(
            FlorenceLoader(*paths, chunking=chunking),
            records,
            store,
            cleanup=request.param,
            source_id_key="source",
            key_encoder="blake2b",
            **options,
        )
        return done["num_added"], done["num_updated"], done["num_skipped"], done["num_deleted"]

    return run


def save(path, *colors):
    Image.fromarray(color_frame(*colors)).save(path)
    return path


# Loading


def test_every_part_of_every_file_is_a_document(folder):
    documents = FlorenceLoader(folder).load()
    kinds = [document.metadata["kind"] for document in documents]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"image": 3, "text": 1, "clip": len(SHOTS)}
    assert len({document.id for document in documents}) == len(documents)
    (notes,) = (document for document in documents if document.metadata["kind"] == "text")
    assert notes.page_content == "The red bus leaves at nine."
    assert notes.metadata["source"] == str(folder / "notes.txt")
    assert notes.metadata["locator"]["span"][0] == 0
    assert all(json.loads(json.dumps(document.metadata)) == document.metadata for document in documents)


def test_documents_come_one_by_one(tmp_path):
    save(tmp_path / "a.png", "red")
    (tmp_path / "b.png").write_text("no image")
    documents = FlorenceLoader(tmp_path, strict=True).lazy_load()
    assert next(documents).metadata["source"] == str(tmp_path / "a.png")
    with pytest.raises(MediaError, match=r"b\.png"):
        next(documents)


def test_a_bad_file_is_named_and_skipped(tmp_path, caplog):
    (tmp_path / "a.png").write_text("no image")
    (tmp_path / "b.png").write_bytes(b"")
    save(tmp_path / "c.png", "red")
    with caplog.at_level(logging.WARNING):
        documents = FlorenceLoader(tmp_path).load()
    assert [document.metadata["source"] for document in documents] == [str(tmp_path / "c.png")]
    assert "a.png" in caplog.text and "b.png" in caplog.text


def test_files_that_are_not_read_are_counted_in_one_line(tmp_path, caplog):
    for name in ("a.mp3", "b.mp3", "c.svg"):
        (tmp_path / name).write_bytes(b"x")
    save(tmp_path / "c.png", "red")
    with caplog.at_level(logging.WARNING):
        assert len(FlorenceLoader(tmp_path).load()) == 1
    assert caplog.messages == ["skipped 3: 2 .mp3, 1 .svg"]


async def test_loading_async_gives_the_same(folder):
    loader = FlorenceLoader(folder / "notes.txt", folder / "red.png")
    assert await loader.aload() == loader.load()


def test_nothing_to_load_is_an_error():
    with pytest.raises(InputError, match="give files or folders"):
        FlorenceLoader()
    with pytest.raises(InputError, match="does not exist"):
        FlorenceLoader("no-such-folder").load()


# Into the store


def test_parts_are_found_by_visual_similarity_and_cite_their_file(store, folder):
    store.add_documents(FlorenceLoader(folder).load())
    (document,) = store.similarity_search("purple", k=1, kinds={"clip"})
    assert document.metadata["source"] == str(folder / "walk.mp4")
    assert document.metadata["locator"]["start_s"] == pytest.approx(8.0, abs=0.3)
    (hit,) = store.rag.search("purple", k=1, kinds={"clip"})
    assert (hit.id, hit.source, str(hit.locator)) == (document.id, str(folder / "walk.mp4"), "8.0-10.0 s")
    assert len(hit.grouped_hits) == 4
    assert len(store.rag.frames(hit)) == len(hit.metadata["keyframes_s"])
    assert store.similarity_search("bus", k=1, kinds={"text"})[0].page_content == "The red bus leaves at nine."


def test_an_index_run_adds_only_changes(run_index, store, embedder, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    red, blue = save(folder / "red.png", "red"), save(folder / "blue.png", "blue")
    assert run_index(folder) == (2, 0, 0, 0)
    embedder.count = 0
    assert run_index(folder) == (0, 0, 2, 0)
    assert embedder.count == 0
    save(red, "green")
    assert run_index(folder) == (1, 0, 1, 1)
    assert embedder.count == 1
    assert {document.metadata["source"] for document in store.similarity_search("red", k=9)} == {str(red), str(blue)}
    assert store.similarity_search_with_score("green", k=1)[0][1] == pytest.approx(1.0, abs=1e-5)


def test_a_video_of_hundreds_of_clips_is_embedded_once(run_index, store, embedder, tmp_path):
    """In every run, LangChain's incremental mode deletes all but the first hundred and adds them again (its #32612)."""
    video = tmp_path / "long.mp4"
    draw_video(video, [("red", "green", "blue")[i % 3] for i in range(320)], seconds=1, fps=4, size_px=48)
    chunking = ChunkingConfig(clip_min_s=0.5, clip_max_s=1.0, keyframes=1)
    clips, *_ = run_index(video, chunking=chunking)
    assert clips > 300 and embedder.count == clips
    embedder.count = 0
    added, updated, skipped, deleted = run_index(video, chunking=chunking)
    assert embedder.count == 0
    assert (added - deleted, updated, added + skipped) == (0, 0, clips)
    assert store.rag.info().chunks == {"clip": clips}


async def test_indexing_async_works(store, records, folder):
    loader = FlorenceLoader(folder / "red.png", folder / "notes.txt")
    options = {"cleanup": "incremental", "source_id_key": "source", "key_encoder": "sha512"}
    assert (await aindex(loader, records, store, **options))["num_added"] == 2
    assert (await aindex(loader, records, store, **options))["num_skipped"] == 2
