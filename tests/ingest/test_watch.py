"""An index that follows its folders."""

import os
import threading
import time
from queue import Queue

import pytest
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.ingest.index_diff import IndexSnapshot
from florence_rag.rag import FlorenceRAG
from florence_rag.sources import watching
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from florence_rag.types import Change

WAIT_S = 20  # on a busy machine; it takes half a second


def save(path, *colors):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(color_frame(*colors, size_px=64)).save(path)
    return path


class Watched:
    """A FlorenceRAG that watches in a thread of its own."""

    def __init__(self, rag, *folders, **options):
        self.rag = rag
        self.reports = Queue()
        self.stop = threading.Event()
        self._arguments = folders, options
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        folders, options = self._arguments
        try:
            for report in self.rag.watch(*folders, stop=self.stop, **options):
                self.reports.put(report)
        except Exception as error:
            self.reports.put(error)

    def next(self):
        return self.reports.get(timeout=WAIT_S)

    def changes(self, count):
        """So many changes, sorted, however many steps they come in."""
        seen = set()
        while len(seen) < count:
            seen |= set(self.next().changes)
        return sorted((change.event, os.path.basename(change.source)) for change in seen)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self._thread.join()


@pytest.fixture
def rag():
    return FlorenceRAG(MemoryIndex(ColorEmbedder.info), ColorEmbedder())


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "in" / "red.png", "red")
    return tmp_path / "in"


@pytest.fixture
def compared(monkeypatch):
    """The paths that the watch compares with the index, run by run."""
    paths_of_runs = []
    diff = IndexSnapshot.diff

    def recorded(self, paths, **options):
        paths_of_runs.append(list(paths))
        return diff(self, paths, **options)

    monkeypatch.setattr(IndexSnapshot, "diff", recorded)
    return paths_of_runs


def test_watching_begins_with_earlier_changes_and_follows_new_changed_moved_and_deleted_files(rag, folder, compared):
    rag.add(folder)
    save(folder / "blue.png", "blue")
    (folder / "red.png").unlink()
    with Watched(rag, folder) as watched:
        first = watched.next()
        assert (first.added, first.removed, first.unchanged) == (1, 1, 0)
        save(folder / "deep" / "er" / "green.png", "green")
        assert watched.changes(1) == [("added", "green.png")]
        save(folder / "blue.png", "yellow")
        assert watched.changes(1) == [("updated", "blue.png")]
        assert rag.search("yellow", k=1)[0].source == str(folder / "blue.png")
        (folder / "blue.png").rename(folder / "moved.png")
        assert watched.changes(2) == [("added", "moved.png"), ("removed", "blue.png")]
        (folder / "deep").rename(folder / "other")
        assert watched.changes(2) == [("added", "green.png"), ("removed", "green.png")]
        (folder / "moved.png").unlink()
        assert watched.changes(1) == [("removed", "moved.png")]
    assert list(rag.index.sources()) == [str(folder / "other" / "er" / "green.png")]
    assert [str(folder)] not in compared[2:]


def test_hidden_files_and_other_formats_are_ignored(rag, folder, compared):
    with Watched(rag, folder) as watched:
        watched.next()
        (folder / "data.bin").write_bytes(b"x")
        save(folder / ".hidden.png", "blue")
        save(folder / ".cache" / "a.png", "blue")
        save(folder / "seen.png", "green")
        assert watched.changes(1) == [("added", "seen.png")]
    assert compared[1:] == [[str(folder / "seen.png")]]


def test_a_file_that_is_being_written_waits_until_it_is_whole(rag, folder):
    data = save(folder.parent / "whole.png", "blue").read_bytes()
    with Watched(rag, folder) as watched:
        watched.next()
        with open(folder / "slow.png", "wb") as file:
            for start in range(0, len(data), len(data) // 6 + 1):
                file.write(data[start : start + len(data) // 6 + 1])
                file.flush()
                time.sleep(watching.SETTLE_S / 3)
        report = watched.next()
        assert report.changes == (Change("added", str(folder / "slow.png")),)
        assert not report.failed


def test_a_file_that_was_read_too_early_is_read_again(rag, folder):
    data = save(folder.parent / "whole.png", "blue").read_bytes()
    with Watched(rag, folder) as watched:
        watched.next()
        (folder / "half.png").write_bytes(data[: len(data) // 2])
        assert [failure.source for failure in watched.next().failed] == [str(folder / "half.png")]
        with open(folder / "half.png", "ab") as file:
            file.write(data[len(data) // 2 :])
        assert watched.changes(1) == [("added", "half.png")]
    assert rag.index.failures() == ()


def test_a_search_in_another_thread_sees_the_changes(rag, folder):
    with Watched(rag, folder) as watched:
        watched.next()
        save(folder / "blue.png", "blue")
        watched.next()
        assert rag.search("blue", k=1)[0].source == str(folder / "blue.png")


def test_the_sources_of_a_folder_that_disappears_stay(rag, folder):
    with Watched(rag, folder) as watched:
        watched.next()
        folder.rename(folder.parent / "away")
        error = watched.next()
    assert isinstance(error, InputError) and "is gone; its files stay in the index" in str(error)
    assert list(rag.index.sources()) == [str(folder / "red.png")]


def test_after_very_many_changes_the_folders_are_scanned(rag, folder, compared, monkeypatch):
    monkeypatch.setattr(watching, "MAX_CHANGES", 2)
    with Watched(rag, folder) as watched:
        watched.next()
        for number, colors in enumerate([("red", "blue"), ("blue", "red"), ("green", "red"), ("red", "green")]):
            save(folder / f"{number}.png", *colors)
        watched.changes(4)
    assert [str(folder)] in compared[1:]


def test_an_empty_folder_can_be_watched(rag, tmp_path):
    with Watched(rag, tmp_path) as watched:
        assert watched.next().changes == ()
        save(tmp_path / "a.png", "red")
        assert watched.changes(1) == [("added", "a.png")]


def test_a_change_of_subtitles_updates_their_video(rag, folder, compared):
    (folder / "clip.mp4").write_bytes(b"no video")
    with Watched(rag, folder) as watched:
        watched.next()
        (folder / "clip.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
        watched.next()
    assert compared[1:] == [[str(folder / "clip.mp4")]]


@pytest.mark.parametrize("name", ["red.png", "missing"])
def test_only_folders_can_be_watched(rag, folder, name):
    with pytest.raises(InputError, match=f"{name}' is not a folder; give folders to watch"):
        next(rag.watch(folder / name))
