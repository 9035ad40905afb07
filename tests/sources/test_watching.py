import os
import threading

import pytest
from watchfiles import Change

from florence_rag.errors import InputError
from florence_rag.sources import watching
from florence_rag.sources.watching import watch_folders


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path.resolve() / "in"
    folder.mkdir()
    return folder


def test_the_folders_come_first_and_then_what_changes_in_them(folder):
    with watch_folders([folder]) as changes:
        assert next(changes) == [str(folder)]
        (folder / "a.jpg").write_bytes(b"a")
        assert next(changes) == [str(folder / "a.jpg")]
        (folder / "a.jpg").unlink()
        assert next(changes) == [str(folder / "a.jpg")]


def test_hidden_files_and_those_of_the_system_are_ignored(folder):
    with watch_folders([folder]) as changes:
        next(changes)
        (folder / "Thumbs.db").write_bytes(b"x")
        (folder / ".hidden.png").write_bytes(b"x")
        (folder / ".cache").mkdir()
        (folder / ".cache" / "a.png").write_bytes(b"x")
        (folder / "seen.png").write_bytes(b"x")
        assert next(changes) == [str(folder / "seen.png")]


def test_the_database_in_a_folder_is_ignored(folder):
    (folder / "x.db" / "collections").mkdir(parents=True)
    (folder / "x.db" / "LOCK").touch()
    with watch_folders([folder]) as changes:
        next(changes)
        (folder / "x.db" / "collections" / "a.parquet").write_bytes(b"x")
        (folder / "x.server.json").write_bytes(b"x")
        (folder / "seen.png").write_bytes(b"x")
        assert next(changes) == [str(folder / "seen.png")]


def test_a_folder_below_a_hidden_one_can_be_watched(folder):
    inner = folder / ".cache" / "photos"
    inner.mkdir(parents=True)
    with watch_folders([inner]) as changes:
        next(changes)
        (inner / "a.png").write_bytes(b"x")
        assert next(changes) == [str(inner / "a.png")]


def test_a_folder_that_appears_is_reported_itself(folder):
    (folder.parent / "album").mkdir()
    (folder.parent / "album" / "a.png").write_bytes(b"x")
    with watch_folders([folder]) as changes:
        next(changes)
        (folder.parent / "album").rename(folder / "album")
        assert str(folder / "album") in next(changes)


def test_after_very_many_changes_the_folders_are_reported(folder, monkeypatch):
    monkeypatch.setattr(watching, "MAX_CHANGES", 0)
    with watch_folders([folder]) as changes:
        next(changes)
        (folder / "a.png").write_bytes(b"x")
        assert next(changes) == [str(folder)]


def test_a_change_of_subtitles_concerns_their_video(folder):
    (folder / "clip.mp4").write_bytes(b"no video")
    with watch_folders([folder]) as changes:
        next(changes)
        (folder / "alone.srt").write_text("no video has this name")
        (folder / "clip.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
        assert next(changes) == [str(folder / "clip.mp4")]
        (folder / "Subs").mkdir()
        assert next(changes) == [str(folder), str(folder / "Subs")]
        (folder / "Subs" / "clip.en.VTT").write_text("WEBVTT")
        assert next(changes) == [str(folder / "clip.mp4")]
        (folder / "clip.srt").unlink()
        assert next(changes) == [str(folder / "clip.mp4")]


def test_a_folder_that_disappears_ends_the_watch(folder):
    with watch_folders([folder, folder.parent]) as changes:
        next(changes)
        os.rmdir(folder)
        with pytest.raises(InputError, match="in' is gone; its files stay in the index"):
            list(changes)


def test_an_event_that_is_set_ends_the_iteration(folder):
    stop = threading.Event()
    with watch_folders([folder], stop) as changes:
        assert next(changes) == [str(folder)]
        stop.set()
        assert list(changes) == []


@pytest.mark.parametrize("name", ["a.png", "missing"])
def test_only_folders_can_be_watched(folder, name):
    (folder / "a.png").write_bytes(b"x")
    with (
        pytest.raises(InputError, match=f"{name}' is not a folder; give folders to watch"),
        watch_folders([folder / name]),
    ):
        pass


def test_a_system_that_cannot_watch_is_one_line(folder, monkeypatch):
    def watch(*folders, **options):
        raise OSError("the limit of watches is reached")
        yield {(Change.added, folders[0])}

    monkeypatch.setattr(watching, "watch", watch)
    with (
        pytest.raises(InputError, match="in' cannot be watched: the limit of watches is reached"),
        watch_folders([folder]),
    ):
        pass
