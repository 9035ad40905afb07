import os

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.errors import InputError
from florence_rag.sources import SourceUnavailable, discover, inside, place_of, places_listed, places_named
from florence_rag.sources.io import Columns
from florence_rag.types import Failure, Source
from tests.sources.io.makers import Page, serving, write_parquet, write_tar


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path.resolve()


def make(*names):
    for name in names:
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        with open(name, "wb") as file:
            file.write(name.encode())


def uris(*paths, **options):
    return [each.uri if isinstance(each, Source) else each.source for each in discover(paths, **options)]


def by_uri(found):
    return {each.uri: each for each in found if isinstance(each, Source)}


def test_a_pattern_is_what_a_shell_would_make_of_it(here):
    make("a/1.jpg", "a/b/2.jpg", "a/b/.3.jpg", "a/c.png", "a/notes.xyz", "odd[1].jpg")
    assert uris("a/**/*.jpg") == [f"{here}/a/1.jpg", f"{here}/a/b/2.jpg"]
    assert uris("a/*") == [f"{here}/a/1.jpg", f"{here}/a/b/2.jpg", f"{here}/a/c.png"]
    assert uris("odd[1].jpg") == [f"{here}/odd[1].jpg"]
    with pytest.raises(InputError, match=r"'a/\*\.gif' matches no folder and no file of a known kind"):
        discover(["a/*.gif"])


def test_of_a_list_what_is_not_there_is_a_failure(here):
    make("a.jpg")
    places, lost = places_listed(["a.jpg\n", "", "  ", "gone.jpg", "http://127.0.0.1:1/x.jpg", "no\0where"])
    assert places == [f"{here}/a.jpg", "http://127.0.0.1:1/x.jpg"]
    assert lost[0] == SourceUnavailable(f"{here}/gone.jpg", "it does not exist") and len(lost) == 2


def test_a_file_url_is_its_path(here):
    make("a b.jpg")
    assert places_named([f"file://{here}/a%20b.jpg"]) == [f"{here}/a b.jpg"]


@given(st.text(max_size=30))
def test_any_line_of_a_list_is_a_place_or_a_failure(line):
    places, lost = places_listed([line])
    assert places or lost or not line.strip()


def test_what_lies_in_a_tar_are_sources_of_their_own(here):
    write_tar(
        here / "a.tar",
        {"2.jpg": b"x", "2.txt": "words", "10.png": b"y", "a/film.mp4": b"z", "n.xyz": b"", "._2.jpg": b"."},
    )
    found = list(discover(["a.tar"]))
    assert [(each.uri, each.media) for each in found] == [
        (f"tar:{here}/a.tar#2.jpg", "image"),
        (f"tar:{here}/a.tar#10.png", "image"),
        (f"tar:{here}/a.tar#a/film.mp4", "video"),
    ]
    stat = os.stat("a.tar")
    assert all((each.size_bytes, each.modified_ns) == (stat.st_size, stat.st_mtime_ns) for each in found)


def test_words_alone_in_a_tar_are_a_text(here):
    write_tar(here / "a.tar", {"1.txt": "words"})
    (found,) = discover(["a.tar"])
    assert found.media == "text"


def test_containers_in_a_folder_are_passed_over_but_not_in_a_pattern(here):
    make("in/1.jpg")
    write_tar(here / "in" / "a.tar", {"2.jpg": b"x"})
    assert uris("in") == [f"{here}/in/1.jpg"]
    assert uris("in/*.tar") == [f"tar:{here}/in/a.tar#2.jpg"]


def test_an_unchanged_container_is_not_hashed_again(here, monkeypatch):
    write_tar(here / "a.tar", {"1.jpg": b"x"})
    write_parquet(here / "p.parquet", {"image": [b"a", b"b", b"c"]})
    known = by_uri(discover(["a.tar", "p.parquet"]))
    assert len(known) == 4
    monkeypatch.setattr("florence_rag.sources.containers.open_place", None)
    assert list(discover(["a.tar", "p.parquet"], known)) == [
        known[uri] for uri in uris("a.tar", "p.parquet", known=known)
    ]


def test_of_a_container_that_changed_only_what_differs_has_another_hash(here):
    write_tar(here / "a.tar", {"1.jpg": b"x", "2.jpg": b"y", "2.txt": "old"})
    before = by_uri(discover(["a.tar"]))
    write_tar(here / "a.tar", {"1.jpg": b"x", "2.jpg": b"y", "2.txt": "new"})
    os.utime("a.tar", ns=(1, 1))
    after = by_uri(discover(["a.tar"], before))
    differs = [uri for uri in after if after[uri].content_hash != before[uri].content_hash]
    assert differs == [f"tar:{here}/a.tar#2.jpg"]


def test_a_picture_has_one_hash_wherever_it_lies(here):
    make("1.jpg")
    write_tar(here / "a.tar", {"x.jpg": b"1.jpg"})
    write_parquet(here / "p.parquet", {"image": [b"1.jpg"]})
    assert len({each.content_hash for each in discover(["1.jpg", "a.tar", "p.parquet"])}) == 1


def test_an_item_can_be_named_by_itself(here):
    write_tar(here / "a.tar", {"1.jpg": b"x", "2.jpg": b"y"})
    assert uris(f"tar:{here}/a.tar#2.jpg") == [f"tar:{here}/a.tar#2.jpg"]
    assert uris(f"tar:{here}/a.tar#2.jpg", "a.tar") == [f"tar:{here}/a.tar#1.jpg", f"tar:{here}/a.tar#2.jpg"]
    with pytest.raises(InputError, match="does not exist"):
        discover([f"tar:{here}/gone.tar#2.jpg"])


def test_bad_containers_are_failures_and_the_rest_goes_on(here):
    make("bad.tar", "bad.parquet")
    write_tar(here / "empty.tar", {"n.xyz": b""})
    write_tar(here / "good.tar", {"0.jpg": b"", "1.jpg": b"x"})
    write_parquet(here / "words.parquet", {"id": [1]})
    found = list(discover(["bad.tar", "bad.parquet", "empty.tar", "good.tar", "words.parquet"]))
    reasons = {os.path.basename(each.source): each.reason for each in found if isinstance(each, Failure)}
    assert "is no Parquet file" in reasons["bad.parquet"]
    assert "is no tar" in reasons["bad.tar"]
    assert "holds nothing of a known kind among its 1 members" in reasons["empty.tar"]
    assert reasons["good.tar#0.jpg"] == "it is empty (0 bytes)"
    assert "id (int64)" in reasons["words.parquet"]
    assert list(by_uri(found)) == [f"tar:{here}/good.tar#1.jpg"]


def test_rows_come_in_their_order_with_the_columns_that_are_named(here):
    write_parquet(here / "p.parquet", {"a": [b"x"] * 12, "b": [b"y"] * 12})
    found = uris("p.parquet", columns=Columns("b"))
    assert found == [f"parquet:{here}/p.parquet#row={row}&image=b" for row in range(12)]


def test_urls_are_told_apart_by_what_their_server_says():
    pages = {
        "/a.jpg": Page(b"x", {"ETag": "1"}),
        "/b": Page(b"y", {"ETag": "1", "Content-Type": "image/png"}),
        "/c": Page(b"z", {"Content-Type": "application/zip"}),
    }
    with serving(pages) as site:
        urls = [f"{site.url}{path}" for path in (*pages, "/gone.jpg")]
        found = list(discover(urls))
        assert [each.media for each in found[:2]] == ["image", "image"]
        assert isinstance(found[2], Failure) and "application/zip: no picture" in found[2].reason
        assert isinstance(found[3], SourceUnavailable) and "404" in found[3].reason
        known = by_uri(found)
        site.asked.clear()
        assert list(discover(urls[:2], known)) == found[:2]
        assert [method for method, _ in site.asked] == ["HEAD", "HEAD"]
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


def test_containers_elsewhere_are_read_in_parts(here):
    write_parquet(here / "p.parquet", {"image": [b"a", b"b"]})
    write_tar(here / "a.tar", {"1.jpg": b"x"})
    pages = {
        f"/{name}": Page((here / name).read_bytes(), {"ETag": name}, ranges=True) for name in ("a.tar", "p.parquet")
    }
    with serving(pages) as site:
        found = uris(f"{site.url}/a.tar", f"{site.url}/p.parquet")
        assert found == [
            f"tar:{site.url}/a.tar#1.jpg",
            f"parquet:{site.url}/p.parquet#row=0&image=image",
            f"parquet:{site.url}/p.parquet#row=1&image=image",
        ]


def test_what_fsspec_lists_is_found(here):
    write_tar(here / "a.tar", {"1.jpg": b"x"})
    system = fsspec.filesystem("memory")
    system.pipe({"/in/1.jpg": b"a", "/in/.2.jpg": b"b", "/in/n.xyz": b"c", "/in/a.tar": (here / "a.tar").read_bytes()})
    try:
        assert uris("memory://in") == ["tar:memory:///in/a.tar#1.jpg", "memory:///in/1.jpg"]
        assert uris("memory://in/*.jpg") == ["memory:///in/1.jpg"]
    finally:
        system.rm("/in", recursive=True)


def test_a_place_is_what_it_is_called_and_what_is_inside_begins_with_it(here):
    assert place_of("s3://bucket/a.jpg") == "s3://bucket/a.jpg"
    assert f"tar:{here}/a.tar#1.jpg".startswith(inside(f"{here}/a.tar"))
    assert f"{here}/a/b.jpg".startswith(inside(f"{here}/a"))
    assert not "https://host/b.jpg".startswith(inside("https://host"))
    assert not f"tar:{here}/in/a.tar#1.jpg".startswith(inside(f"{here}/in"))
