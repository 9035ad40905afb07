import os
from pathlib import Path

import fsspec
import pytest

from florence_rag.errors import InputError
from florence_rag.sources import SourceUnavailable, discover
from florence_rag.sources.io import Columns
from florence_rag.sources.io import uris as uri_forms
from florence_rag.types import Failure, Skipped, Source
from tests.sources.io.makers import Page, make, serving, write_parquet, write_tar

pytestmark = pytest.mark.usefixtures("folder")


def uris(*paths, **options):
    found = [each for each in discover(paths, **options) if not isinstance(each, Skipped)]
    return [each.uri if isinstance(each, Source) else each.source for each in found]


def skipped(*paths, **options):
    return {
        os.path.basename(each.source): each.reason for each in discover(paths, **options) if isinstance(each, Skipped)
    }


def by_uri(found):
    return {each.uri: each for each in found if isinstance(each, Source)}


def test_a_pattern_matches_as_in_a_shell(folder):
    make("a/1.jpg", "a/b/2.jpg", "a/b/.3.jpg", "a/c.png", "a/notes.xyz", "odd[1].jpg")
    assert uris("a/**/*.jpg") == [f"{folder}/a/1.jpg", f"{folder}/a/b/2.jpg"]
    assert uris("a/*") == [f"{folder}/a/1.jpg", f"{folder}/a/b/2.jpg", f"{folder}/a/c.png"]
    assert uris("odd[1].jpg") == [f"{folder}/odd[1].jpg"]
    assert skipped("a/*") == {"notes.xyz": ".xyz"}
    with pytest.raises(InputError, match=r"'a/\*\.gif' matches no folder and no file of a known kind"):
        discover(["a/*.gif"])


def test_each_file_of_a_tar_is_a_source(folder):
    write_tar(
        folder / "a.tar",
        {"2.jpg": b"x", "2.txt": "caption", "10.png": b"y", "a/video.mp4": b"z", "n.xyz": b"", "._2.jpg": b"."}
        | {"2.npy": b"v", "3.json": "{}", "a/Thumbs.db": b"", "LICENSE": b"x", "b.tar": b"x"},
    )
    found = [each for each in discover(["a.tar"]) if not isinstance(each, Skipped)]
    assert skipped("a.tar") == {
        "a.tar#n.xyz": ".xyz",
        "a.tar#2.npy": ".npy",
        "a.tar#3.json": ".json",
        "a.tar#LICENSE": "without suffix",
        "a.tar#b.tar": ".tar",
    }
    assert [(each.uri, each.media) for each in found] == [
        (f"tar:{folder}/a.tar#2.jpg", "image"),
        (f"tar:{folder}/a.tar#10.png", "image"),
        (f"tar:{folder}/a.tar#a/video.mp4", "video"),
    ]
    stat = os.stat("a.tar")
    assert all((each.size_bytes, each.modified_ns) == (stat.st_size, stat.st_mtime_ns) for each in found)


def test_a_text_file_without_an_image_in_a_tar_is_a_text(folder):
    write_tar(folder / "a.tar", {"1.txt": "text"})
    (found,) = discover(["a.tar"])
    assert found.media == "text"


def test_containers_in_a_folder_are_skipped_but_not_in_a_pattern(folder):
    make("in/1.jpg")
    write_tar(folder / "in" / "a.tar", {"2.jpg": b"x"})
    assert uris("in") == [f"{folder}/in/1.jpg"]
    assert skipped("in") == {"a.tar": ".tar (give it by name)"}
    assert uris("in/*.tar") == [f"tar:{folder}/in/a.tar#2.jpg"]


@pytest.fixture
def optional_suffix(monkeypatch):
    """The suffix of a kind whose library is not installed."""
    monkeypatch.setitem(uri_forms._EXTRA_BY_SUFFIX, ".docy", ("no_such_package", "office"))
    monkeypatch.setitem(uri_forms.MEDIA_BY_SUFFIX, ".docy", "text")
    uri_forms.missing_extra.cache_clear()
    yield ".docy"
    uri_forms.missing_extra.cache_clear()


def test_a_kind_that_needs_an_extra_is_skipped_with_its_name_and_fails_if_named(optional_suffix):
    make("in/a.docy", "in/1.jpg")
    assert skipped("in") == {"a.docy": ".docy (install florence-rag[office])"}
    (found,) = discover(["in/a.docy"])
    assert found.reason == "files ending in '.docy' need a library: pip install 'florence-rag[office]'"


@pytest.mark.parametrize("package", ["", "json"])
def test_an_installed_extra_is_used(optional_suffix, package, monkeypatch, folder):
    monkeypatch.setitem(uri_forms._EXTRA_BY_SUFFIX, ".docy", (package, "office"))
    make("in/a.docy")
    assert uris("in") == [f"{folder}/in/a.docy"]


def test_rows_without_an_image_are_skipped(folder):
    write_parquet(folder / "p.parquet", {"image": [b"a", None, b""]})
    found = list(discover(["p.parquet"]))
    assert [type(each) for each in found] == [Source, Skipped, Failure]
    assert found[1].reason == "row without image"


def test_an_unchanged_container_is_not_hashed_again(folder, monkeypatch):
    write_tar(folder / "a.tar", {"1.jpg": b"x"})
    write_parquet(folder / "p.parquet", {"image": [b"a", b"b", b"c"]})
    known = by_uri(discover(["a.tar", "p.parquet"]))
    assert len(known) == 4
    monkeypatch.setattr("florence_rag.sources.discovery.open_uri", None)
    assert list(discover(["a.tar", "p.parquet"], known)) == [
        known[uri] for uri in uris("a.tar", "p.parquet", known=known)
    ]


def test_only_changed_members_of_a_changed_container_have_another_hash(folder):
    write_tar(folder / "a.tar", {"1.jpg": b"x", "2.jpg": b"y", "2.txt": "old"})
    before = by_uri(discover(["a.tar"]))
    write_tar(folder / "a.tar", {"1.jpg": b"x", "2.jpg": b"y", "2.txt": "new"})
    os.utime("a.tar", ns=(1, 1))
    after = by_uri(discover(["a.tar"], before))
    differs = [uri for uri in after if after[uri].content_hash != before[uri].content_hash]
    assert differs == [f"tar:{folder}/a.tar#2.jpg"]


def test_an_image_has_the_same_hash_in_every_container(folder):
    make("1.jpg")
    write_tar(folder / "a.tar", {"x.jpg": b"1.jpg"})
    write_parquet(folder / "p.parquet", {"image": [b"1.jpg"]})
    assert len({each.content_hash for each in discover(["1.jpg", "a.tar", "p.parquet"])}) == 1


def test_a_single_member_can_be_named(folder):
    write_tar(folder / "a.tar", {"1.jpg": b"x", "2.jpg": b"y"})
    assert uris(f"tar:{folder}/a.tar#2.jpg") == [f"tar:{folder}/a.tar#2.jpg"]
    assert uris(f"tar:{folder}/a.tar#2.jpg", "a.tar") == [f"tar:{folder}/a.tar#1.jpg", f"tar:{folder}/a.tar#2.jpg"]
    with pytest.raises(InputError, match="does not exist"):
        discover([f"tar:{folder}/gone.tar#2.jpg"])


def test_bad_containers_are_failures_and_the_others_are_read(folder):
    make("bad.tar", "bad.parquet")
    write_tar(folder / "empty.tar", {"n.xyz": b""})
    write_tar(folder / "good.tar", {"0.jpg": b"", "1.jpg": b"x"})
    write_parquet(folder / "no-images.parquet", {"id": [1]})
    found = list(discover(["bad.tar", "bad.parquet", "empty.tar", "good.tar", "no-images.parquet"]))
    reasons = {os.path.basename(each.source): each.reason for each in found if isinstance(each, Failure)}
    assert "is not a Parquet file" in reasons["bad.parquet"]
    assert "is not a tar file" in reasons["bad.tar"]
    assert "holds nothing of a known kind among its 1 members" in reasons["empty.tar"]
    assert reasons["good.tar#0.jpg"] == "the file is empty (0 bytes)"
    assert "id (int64)" in reasons["no-images.parquet"]
    assert list(by_uri(found)) == [f"tar:{folder}/good.tar#1.jpg"]


def test_rows_come_in_their_order_with_the_named_columns(folder):
    write_parquet(folder / "p.parquet", {"a": [b"x"] * 12, "b": [b"y"] * 12})
    found = uris("p.parquet", columns=Columns("b"))
    assert found == [f"parquet:{folder}/p.parquet#row={row}&image=b" for row in range(12)]


def test_urls_are_recorded_by_what_their_server_declares():
    pages = {
        "/a.jpg": Page(b"x", {"ETag": "1"}),
        "/b": Page(b"y", {"ETag": "1", "Content-Type": "image/png"}),
        "/c": Page(b"z", {"Content-Type": "application/zip"}),
    }
    with serving(pages) as site:
        urls = [f"{site.url}{path}" for path in (*pages, "/gone.jpg")]
        found = list(discover(urls))
        assert [each.media for each in found[:2]] == ["image", "image"]
        assert isinstance(found[2], Failure) and "application/zip: no image" in found[2].reason
        assert isinstance(found[3], SourceUnavailable) and "404" in found[3].reason
        known = by_uri(found)
        site.requests.clear()
        assert list(discover(urls[:2], known)) == found[:2]
        assert [method for method, _ in site.requests] == ["HEAD", "HEAD"]
        pages["/a.jpg"].headers["ETag"] = "2"
        changed = list(discover(urls[:2], known))
        assert changed[1] == found[1] and changed[0].content_hash != found[0].content_hash


def test_a_url_without_any_version_is_hashed():
    with serving({"/a.jpg": Page(b"x")}) as site:
        (first,) = discover([f"{site.url}/a.jpg"])
        (second,) = discover([f"{site.url}/a.jpg"], {first.uri: first})
        assert second == first
        site.pages["/a.jpg"] = Page(b"y")
        (third,) = discover([f"{site.url}/a.jpg"], {first.uri: first})
        assert third.content_hash != first.content_hash


def test_remote_containers_are_read_in_parts(folder):
    write_parquet(folder / "p.parquet", {"image": [b"a", b"b"]})
    write_tar(folder / "a.tar", {"1.jpg": b"x"})
    pages = {
        f"/{name}": Page((folder / name).read_bytes(), {"ETag": name}, ranges=True) for name in ("a.tar", "p.parquet")
    }
    with serving(pages) as site:
        found = uris(f"{site.url}/a.tar", f"{site.url}/p.parquet")
        assert found == [
            f"tar:{site.url}/a.tar#1.jpg",
            f"parquet:{site.url}/p.parquet#row=0&image=image",
            f"parquet:{site.url}/p.parquet#row=1&image=image",
        ]


def test_files_that_fsspec_lists_are_found(folder):
    write_tar(folder / "a.tar", {"1.jpg": b"x"})
    system = fsspec.filesystem("memory")
    system.pipe(
        {"/in/1.jpg": b"a", "/in/.2.jpg": b"b", "/in/n.xyz": b"c", "/in/a.tar": (folder / "a.tar").read_bytes()}
    )
    try:
        assert uris("memory://in") == ["tar:memory:///in/a.tar#1.jpg", "memory:///in/1.jpg"]
        assert skipped("memory://in") == {"n.xyz": ".xyz"}
        assert uris("memory://in/*.jpg") == ["memory:///in/1.jpg"]
    finally:
        system.rm("/in", recursive=True)


def write_files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" + name.encode("utf-8", "surrogateescape"))


def found(*paths: Path | str, known: dict[str, Source] | None = None, **options) -> list[Source | Failure]:
    return [each for each in discover(paths, known or {}, **options) if not isinstance(each, Skipped)]


def names(sources: list[Source | Failure], top: Path) -> list[str]:
    return [os.path.relpath(one.uri if isinstance(one, Source) else one.source, top.resolve()) for one in sources]


def test_media_are_found_in_order_below_a_folder_and_the_rest_is_skipped(tmp_path):
    write_files(
        tmp_path, "b/a.JPG", "b/c/video.Mp4", "a.pdf", "notes.md", "b.jpg", "b/song.MP3", "Makefile", "b/video.srt"
    )
    write_files(tmp_path, ".hidden.jpg", ".git/a.jpg", "b/._a.jpg", ".DS_Store", "Thumbs.db", "~$letter.docx")
    assert skipped(tmp_path) == {
        "song.MP3": ".mp3",
        "Makefile": "without suffix",
        "video.srt": "subtitles without a video",
    }
    sources = found(tmp_path)
    assert names(sources, tmp_path) == ["a.pdf", "b.jpg", "b/a.JPG", "b/c/video.Mp4", "notes.md"]
    assert [one.media for one in sources] == ["pdf", "image", "image", "video", "text"]
    assert all(os.path.isabs(one.uri) for one in sources)


def test_a_record_holds_size_time_and_content_hash(tmp_path):
    write_files(tmp_path, "a.jpg", "same.jpg")
    (tmp_path / "same.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    first, second = found(tmp_path)
    stat = (tmp_path / "a.jpg").stat()
    assert (first.size_bytes, first.modified_ns) == (stat.st_size, stat.st_mtime_ns)
    assert first.content_hash == second.content_hash and len(first.content_hash) == 32
    (tmp_path / "same.jpg").write_bytes(b"other")
    assert found(tmp_path / "same.jpg")[0].content_hash != first.content_hash


def test_unchanged_files_are_not_read_again(tmp_path):
    write_files(tmp_path, "a.jpg", "b.jpg")
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
    write_files(tmp_path, "a.jpg")
    (before,) = found(tmp_path)
    os.utime(tmp_path / "a.jpg", ns=(1, 1))
    (after,) = found(tmp_path, known={before.uri: before})
    assert after.content_hash == before.content_hash and after.modified_ns == 1


def test_subtitles_are_a_part_of_their_video(tmp_path):
    write_files(tmp_path, "video.mp4")
    (bare,) = found(tmp_path)
    known = {bare.uri: bare}
    write_files(tmp_path, "video.srt")
    os.utime(tmp_path / "video.srt", ns=(1, 1))
    (with_subtitles,) = found(tmp_path, known=known)
    assert with_subtitles.content_hash != bare.content_hash
    (tmp_path / "video.srt").unlink()
    assert found(tmp_path, known={bare.uri: with_subtitles}) == [bare]


def test_every_change_of_subtitles_changes_the_record_of_their_video(tmp_path):
    def record() -> Source:
        (found_source,) = found(tmp_path)
        return found_source

    write_files(tmp_path, "video.mp4", "Subs/video/2_English.srt")
    records = [record()]
    (tmp_path / "Subs/video/2_English.srt").rename(tmp_path / "video.en.srt")
    records.append(record())
    (tmp_path / "video.en.srt").rename(tmp_path / "video.de.srt")
    records.append(record())
    stat = (tmp_path / "video.de.srt").stat()
    (tmp_path / "video.de.srt").write_bytes(b"z" * stat.st_size)
    os.utime(tmp_path / "video.de.srt", ns=(1, 1))  # an older file of the same size
    records.append(record())
    write_files(tmp_path, "video.fr.vtt")
    records.append(record())
    assert len({each.content_hash for each in records}) == len({each.modified_ns for each in records}) == 5
    before = records[-1]
    assert found(tmp_path, known={before.uri: before}) == [before]
    tmp_path.joinpath("moved").mkdir()
    for path in tmp_path.glob("video*"):
        path.rename(tmp_path / "moved" / path.name)
    assert record().content_hash == before.content_hash


def test_subtitles_without_a_video_are_skipped(tmp_path):
    write_files(tmp_path, "film.mp4", "film.en.srt", "other.ass", "Subs/film.vtt", "extras/Subs/film.vtt", "film2.SRT")
    reason = "subtitles without a video"
    assert skipped(tmp_path) == {"other.ass": reason, "film.vtt": reason, "film2.SRT": reason}


def test_typescript_is_no_video(tmp_path):
    packets = b"".join(b"G" + bytes([number]) * 187 for number in range(8))
    write_files(tmp_path, "empty.ts")
    (tmp_path / "empty.ts").write_bytes(b"")
    (tmp_path / "recording.ts").write_bytes(packets)
    (tmp_path / "cut.MTS").write_bytes(packets[50:])
    (tmp_path / "disc.m2ts").write_bytes(packets)
    (tmp_path / "main.ts").write_text("export const greeting: string = 'Good morning'\n" * 40)
    (tmp_path / "module.mts").write_text("GGG\n" * 400)
    (tmp_path / "app_de.ts").write_text('<?xml version="1.0"?><!DOCTYPE TS><TS version="2.1"/>')
    assert names(found(tmp_path), tmp_path) == ["cut.MTS", "disc.m2ts", "recording.ts"]
    assert skipped(tmp_path) == {"main.ts": ".ts", "module.mts": ".mts", "app_de.ts": ".ts", "empty.ts": ".ts"}


def test_a_file_on_several_paths_is_found_once(tmp_path, monkeypatch):
    write_files(tmp_path, "a/b.jpg")
    monkeypatch.chdir(tmp_path)
    paths = [tmp_path, tmp_path / "a", "a/b.jpg", "./a/../a/b.jpg", tmp_path / "a" / "b.jpg"]
    assert names(list(discover(paths)), tmp_path) == ["a/b.jpg"]


def test_links_that_lead_out_of_the_folder_or_in_circles_are_not_followed(tmp_path):
    write_files(tmp_path, "a/b.jpg", "outside/c.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "root").symlink_to("/")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "aside").symlink_to(tmp_path / "outside")
    (tmp_path / "a" / "d.jpg").symlink_to(tmp_path / "outside" / "c.jpg")
    assert names(found(tmp_path / "a"), tmp_path) == ["a/b.jpg"]
    assert skipped(tmp_path / "a") == {
        "up": "link to a parent folder",
        "root": "link to a parent folder",
        "aside": "link out of the folder",
        "d.jpg": "link out of the folder",
    }
    assert names(found(tmp_path / "a", tmp_path / "outside"), tmp_path) == ["a/b.jpg", "outside/c.jpg"]


def test_a_pattern_does_not_follow_links_out_of_its_folder(tmp_path, monkeypatch):
    write_files(tmp_path, "a/b.jpg", "outside/c.jpg", "outside/d.jpg")
    (tmp_path / "a" / "aside").symlink_to(tmp_path / "outside")
    (tmp_path / "a" / "d.jpg").symlink_to(tmp_path / "outside" / "d.jpg")
    monkeypatch.chdir(tmp_path)
    for pattern in ("a/*", "a/**/*"):
        assert names(found(pattern), tmp_path) == ["a/b.jpg"]
        assert set(skipped(pattern).values()) == {"link out of the folder"}
    outside = ["outside/c.jpg", "outside/d.jpg"]
    assert names(found("[a]/**"), tmp_path) == ["a/b.jpg", *outside]  # the folder in front of the marks holds both
    assert names(found("a/*", follow_links=True), tmp_path) == ["a/b.jpg", *outside]


def test_links_are_followed_if_asked_but_never_upwards(tmp_path):
    write_files(tmp_path, "a/b.jpg", "outside/c.jpg", "outside/d.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "aside").symlink_to(tmp_path / "outside")
    (tmp_path / "a" / "d.jpg").symlink_to(tmp_path / "outside" / "d.jpg")
    (tmp_path / "outside" / "back").symlink_to(tmp_path / "a")
    sources = found(tmp_path / "a", follow_links=True)
    assert names(sources, tmp_path) == ["a/b.jpg", "outside/c.jpg", "outside/d.jpg"]
    assert skipped(tmp_path / "a", follow_links=True) == {"up": "link to a parent folder"}


def test_a_link_that_is_given_is_followed(tmp_path):
    write_files(tmp_path, "real/b.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert names(found(tmp_path / "link"), tmp_path) == ["real/b.jpg"]


def test_broken_links_fail_if_their_names_are_those_of_media(tmp_path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    (tmp_path / "gone.mp3").symlink_to("/nowhere/at/all")
    assert [each.reason for each in found(tmp_path)] == [
        "the file cannot be read: Too many levels of symbolic links",
        "the file cannot be read: No such file or directory",
    ]
    assert skipped(tmp_path) == {"gone.mp3": ".mp3"}


def test_a_link_inside_the_folder_adds_nothing_twice(tmp_path):
    write_files(tmp_path, "a/b.jpg", ".store/1.jpg", ".store/2.jpg")
    (tmp_path / "again").symlink_to(tmp_path / "a")
    (tmp_path / "again.jpg").symlink_to(tmp_path / "a" / "b.jpg")
    (tmp_path / "stored.jpg").symlink_to(tmp_path / ".store" / "1.jpg")
    (tmp_path / "twice.jpg").symlink_to(tmp_path / ".store" / "1.jpg")
    assert names(found(tmp_path), tmp_path) == ["a/b.jpg", "stored.jpg"]
    assert skipped(tmp_path) == {}


def test_what_is_skipped_is_counted_once(tmp_path, monkeypatch):
    write_files(tmp_path, "a/b.jpg", "a/c.mp3", "a/d", "a/e.srt")
    (tmp_path / "a" / "self").symlink_to(".")
    monkeypatch.chdir(tmp_path)
    reasons = [one.reason for one in discover(["a/*"]) if isinstance(one, Skipped)]
    assert sorted(reasons) == [".mp3", "subtitles without a video", "without suffix"]


def test_a_database_in_a_folder_is_ignored(tmp_path):
    write_files(tmp_path, "x.db/LOCK", "x.db/collections/a.parquet", "x.images/florence/a.jpg", "x.photos/a.jpg")
    write_files(tmp_path, "x.server.json", "y.images/a.jpg", "y.db/a.jpg")
    assert names(found(tmp_path), tmp_path) == ["x.photos/a.jpg", "y.db/a.jpg", "y.images/a.jpg"]
    assert skipped(tmp_path) == {}


def test_a_link_to_a_file_keeps_its_own_name(tmp_path):
    write_files(tmp_path, "blobs/0123abcd")
    (tmp_path / "cat.jpg").symlink_to(tmp_path / "blobs" / "0123abcd")
    assert names(found(tmp_path), tmp_path) == ["cat.jpg"]
    assert names(found(tmp_path / "cat.jpg"), tmp_path) == ["cat.jpg"]


@pytest.mark.parametrize("path", ["gone.jpg", "gone", "tar:/gone.tar#a.jpg", "a\0b.jpg", "~nobody-at-all/a.jpg"])
def test_a_path_that_does_not_exist_is_an_error_before_anything_is_read(tmp_path, path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path, "a.jpg")
    with pytest.raises(InputError, match="does not exist; give files or folders"):
        discover([tmp_path, path])


def test_a_single_path_need_not_be_a_list(tmp_path):
    write_files(tmp_path, "a.jpg")
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
    write_files(tmp_path, "song.mp3", "Makefile", "video.srt", ".hidden.jpg", "old.DOC")
    assert "'.mp3' are of no known kind; known are jpg, " in reason(found(tmp_path / "song.mp3"))
    assert "of no known kind" in reason(found(tmp_path / "Makefile"))
    assert reason(found(tmp_path / "old.DOC")) == "files ending in '.doc' are not read; save this one as .docx"
    assert "together with the video" in reason(found(tmp_path / "video.srt"))
    assert isinstance(found(tmp_path / ".hidden.jpg")[0], Source)  # named, so meant


def test_empty_files_are_failures(tmp_path):
    (tmp_path / "a.jpg").touch()
    write_files(tmp_path, "b.jpg")
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
    write_files(tmp_path, "a.jpg", "shut/b.jpg")
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
        write_files(tmp_path, "caf\udce9.jpg")
    except OSError:
        return  # this file system has no such names
    (failure,) = found(tmp_path)
    assert "not valid UTF-8; rename it" in failure.reason
    assert failure.source.encode("utf-8").endswith(b"caf\\udce9.jpg")
