"""Files that cannot be indexed are stored with the reason, and tried again when they change or on demand."""

import os
import shutil

import pytest
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame


@pytest.fixture(params=["memory", "milvus"])
def rag(request, tmp_path):
    info = ColorEmbedder.info
    index = MemoryIndex(info) if request.param == "memory" else MilvusIndex.open(str(tmp_path / "x.db"), info)
    with FlorenceRAG(index, ColorEmbedder()) as rag:
        yield rag


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(color_frame("red")).save(folder / "red.png")
    (folder / "broken.jpg").write_text("this is no image")
    return folder


class ReadFiles(set):
    """The names of the files that are read, as the progress reports them."""

    def __call__(self, step):
        self.add(os.path.basename(step.source))


def counts(report):
    return report.added, report.updated, report.unchanged, len(report.failed)


def test_an_unchanged_failure_is_reported_again_and_not_read_again(rag, folder):
    first, read = rag.add(folder), ReadFiles()
    second = rag.add(folder, progress=read)
    assert counts(second) == (0, 0, 1, 1)
    assert second.failed == first.failed == rag.index.failures()
    assert read == set()


@pytest.mark.parametrize(
    "retry",
    [
        lambda rag, folder, progress: rag.add(folder, retry=True, progress=progress),
        lambda rag, _, progress: rag.retry_failures(progress=progress),
    ],
)
def test_a_failure_is_tried_again_on_demand(rag, folder, retry):
    rag.add(folder)
    read = ReadFiles()
    assert len(retry(rag, folder, read).failed) == 1
    assert read == {"broken.jpg"}


def test_a_failed_file_is_tried_again_when_it_changes(rag, folder):
    rag.add(folder)
    Image.fromarray(color_frame("blue")).save(folder / "broken.jpg", "PNG")
    assert counts(rag.add(folder)) == (1, 0, 1, 0)
    assert rag.index.failures() == () and rag.index.skipped() == {}


def test_a_failure_that_does_not_lie_in_the_file_is_tried_again_in_every_run(rag, folder):
    def refuse(frames):
        raise InputError("the service is tired")

    embed, rag.models.embedder.embed_images = rag.models.embedder.embed_images, refuse
    assert counts(rag.add(folder)) == (0, 0, 0, 2)
    rag.models.embedder.embed_images = embed
    assert counts(rag.add(folder)) == (1, 0, 0, 1)


def test_a_failure_whose_file_is_gone_is_deleted_when_tried_again(rag, folder):
    rag.add(folder)
    (folder / "broken.jpg").unlink()
    assert counts(rag.retry_failures()) == (0, 0, 0, 0)
    assert rag.index.failures() == ()


def test_without_failures_a_retry_does_nothing(rag):
    assert counts(rag.retry_failures()) == (0, 0, 0, 0)


def test_a_file_with_new_times_and_old_bytes_is_hashed_once(rag, folder, monkeypatch):
    from florence_rag.sources import discovery

    hashed = []
    hash_content = discovery.hash_content

    def record_name(files):
        files = list(files)
        hashed.append(os.path.basename(files[0].name))
        return hash_content(files)

    monkeypatch.setattr(discovery, "hash_content", record_name)
    rag.add(folder)
    for name in ("red.png", "broken.jpg"):
        os.utime(folder / name, (1, 1))
    hashed.clear()
    assert counts(rag.add(folder)) == (0, 0, 1, 1)
    assert sorted(hashed) == ["broken.jpg", "red.png"]
    assert counts(rag.add(folder)) == (0, 0, 1, 1)
    assert sorted(hashed) == ["broken.jpg", "red.png"]
    assert len(rag.search("red")) == 1


def test_sources_below_a_missing_path_are_not_pruned(rag, folder):
    rag.add(folder)
    shutil.move(folder, folder.parent / "away")
    with pytest.raises(InputError, match="does not exist"):
        rag.add(folder, prune=True)
    assert len(rag.index.sources()) == 1
