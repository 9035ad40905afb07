import os
from pathlib import Path

import pytest

from florence_rag.errors import InputError
from florence_rag.sources import discover
from florence_rag.types import Failure, Source


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" + name.encode("utf-8", "surrogateescape"))


def found(*paths: Path, known: dict[str, Source] | None = None) -> list[Source | Failure]:
    return list(discover(paths, known or {}))


def names(sources: list[Source | Failure], top: Path) -> list[str]:
    return [os.path.relpath(one.uri if isinstance(one, Source) else one.source, top.resolve()) for one in sources]


def test_media_are_found_in_order_below_a_folder_and_the_rest_is_skipped(tmp_path):
    make(tmp_path, "b/a.JPG", "b/c/video.Mp4", "a.pdf", "notes.md", "b.jpg", "b/song.mp3", "Makefile", "b/video.srt")
    make(tmp_path, ".hidden.jpg", ".git/a.jpg", "b/._a.jpg")
    sources = found(tmp_path)
    assert names(sources, tmp_path) == ["a.pdf", "b.jpg", "b/a.JPG", "b/c/video.Mp4", "notes.md"]
    assert [one.media for one in sources] == ["pdf", "image", "image", "video", "text"]
    assert all(os.path.isabs(one.uri) for one in sources)


def test_a_record_holds_size_time_and_content_hash(tmp_path):
    make(tmp_path, "a.jpg", "same.jpg")
    (tmp_path / "same.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    first, second = found(tmp_path)
    stat = (tmp_path / "a.jpg").stat()
    assert (first.size_bytes, first.modified_ns) == (stat.st_size, stat.st_mtime_ns)
    assert first.content_hash == second.content_hash and len(first.content_hash) == 32
    (tmp_path / "same.jpg").write_bytes(b"other")
    assert found(tmp_path / "same.jpg")[0].content_hash != first.content_hash


def test_unchanged_files_are_not_read_again(tmp_path):
    make(tmp_path, "a.jpg", "b.jpg")
    first = {one.uri: one for one in found(tmp_path)}
    stat = (tmp_path / "a.jpg").stat()
    (tmp_path / "a.jpg").write_bytes(b"y" * stat.st_size)
    os.utime(tmp_path / "a.jpg", ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    assert found(tmp_path, known=first) == list(first.values())  # size and time are as before: not even opened
    os.utime(tmp_path / "a.jpg", ns=(1, 1))
    a, b = found(tmp_path, known=first)
    assert b is first[b.uri]
    assert a.content_hash != first[a.uri].content_hash and a.modified_ns == 1


def test_a_touched_file_keeps_its_hash(tmp_path):
    make(tmp_path, "a.jpg")
    (before,) = found(tmp_path)
    os.utime(tmp_path / "a.jpg", ns=(1, 1))
    (after,) = found(tmp_path, known={before.uri: before})
    assert after.content_hash == before.content_hash and after.modified_ns == 1


def test_subtitles_are_a_part_of_their_video(tmp_path):
    make(tmp_path, "video.mp4")
    (bare,) = found(tmp_path)
    known = {bare.uri: bare}
    make(tmp_path, "video.srt")
    os.utime(tmp_path / "video.srt", ns=(1, 1))
    (with_subtitles,) = found(tmp_path, known=known)
    assert with_subtitles.content_hash != bare.content_hash
    (tmp_path / "video.srt").unlink()
    assert found(tmp_path, known={bare.uri: with_subtitles}) == [bare]


def test_a_file_on_several_paths_is_found_once(tmp_path, monkeypatch):
    make(tmp_path, "a/b.jpg")
    monkeypatch.chdir(tmp_path)
    paths = [tmp_path, tmp_path / "a", "a/b.jpg", "./a/../a/b.jpg", tmp_path / "a" / "b.jpg"]
    assert names(list(discover(paths)), tmp_path) == ["a/b.jpg"]


def test_links_that_lead_in_circles_end(tmp_path):
    make(tmp_path, "a/b.jpg", "outside/c.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "aside").symlink_to(tmp_path / "outside")
    assert names(found(tmp_path / "a"), tmp_path) == ["a/b.jpg", "outside/c.jpg"]


def test_a_link_to_a_file_keeps_its_own_name(tmp_path):
    make(tmp_path, "blobs/0123abcd")
    (tmp_path / "cat.jpg").symlink_to(tmp_path / "blobs" / "0123abcd")
    assert names(found(tmp_path), tmp_path) == ["cat.jpg"]
    assert names(found(tmp_path / "cat.jpg"), tmp_path) == ["cat.jpg"]


@pytest.mark.parametrize("path", ["gone.jpg", "gone", "tar:/gone.tar#a.jpg", "a\0b.jpg", "~nobody-at-all/a.jpg"])
def test_a_path_that_does_not_exist_is_an_error_before_anything_is_read(tmp_path, path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "a.jpg")
    with pytest.raises(InputError, match="does not exist; give files or folders"):
        discover([tmp_path, path])


def test_a_single_path_need_not_be_a_list(tmp_path):
    make(tmp_path, "a.jpg")
    assert names(list(discover(str(tmp_path / "a.jpg"))), tmp_path) == ["a.jpg"]
    assert names(list(discover(tmp_path)), tmp_path) == ["a.jpg"]


def test_an_empty_folder_has_no_sources(tmp_path):
    assert found(tmp_path) == []
    assert list(discover([])) == []


def reason(sources: list[Source | Failure]) -> str:
    (failure,) = sources
    assert isinstance(failure, Failure) and "\n" not in failure.reason
    return failure.reason


def test_files_of_unknown_kind_are_failures_when_named(tmp_path):
    make(tmp_path, "song.mp3", "Makefile", "video.srt", ".hidden.jpg")
    assert "'.mp3' are of no known kind; known are jpg, " in reason(found(tmp_path / "song.mp3"))
    assert "of no known kind" in reason(found(tmp_path / "Makefile"))
    assert "together with the video" in reason(found(tmp_path / "video.srt"))
    assert isinstance(found(tmp_path / ".hidden.jpg")[0], Source)  # named, so meant


def test_empty_files_are_failures(tmp_path):
    (tmp_path / "a.jpg").touch()
    make(tmp_path, "b.jpg")
    empty, good = found(tmp_path)
    assert empty == Failure(str(tmp_path.resolve() / "a.jpg"), "the file is empty (0 bytes)")
    assert isinstance(good, Source)


def test_links_to_nothing_and_pipes_are_failures(tmp_path):
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    assert reason(found(tmp_path)) == "the file cannot be read: No such file or directory"
    (tmp_path / "a.jpg").unlink()
    os.mkfifo(tmp_path / "b.jpg")
    assert reason(found(tmp_path)) == "this is not a regular file"


def test_files_and_folders_without_permission_are_failures(tmp_path, monkeypatch):
    make(tmp_path, "a.jpg", "shut/b.jpg")
    scandir = os.scandir

    def refuse_folder(path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def refuse_file(path, *args):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", refuse_folder)
    monkeypatch.setattr("builtins.open", refuse_file)
    file, folder = found(tmp_path)
    monkeypatch.undo()
    assert file == Failure(str(tmp_path.resolve() / "a.jpg"), "the file cannot be read: Permission denied")
    assert folder.reason == "the folder cannot be read: Permission denied" and folder.source.endswith("shut")


def test_names_that_are_not_utf8_are_failures_that_can_be_printed(tmp_path):
    try:
        make(tmp_path, "caf\udce9.jpg")
    except OSError:
        return  # this file system has no such names
    (failure,) = found(tmp_path)
    assert "not valid UTF-8; rename it" in failure.reason
    assert failure.source.encode("utf-8").endswith(b"caf\\udce9.jpg")
