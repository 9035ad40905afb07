import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.sources.io import uris
from florence_rag.sources.io.uris import (
    MEDIA_BY_SUFFIX,
    Member,
    container_scheme,
    is_http,
    is_path,
    is_url,
    media_of,
    parse_member,
    quote_name,
    skip_reason,
    suffix_of,
    unquote_name,
)

NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.docx", ".docx (install florence-rag[office])"),
        ("/x/A.EPUB", ".epub (install florence-rag[office])"),
        ("tar:/a.tar#b.odt", ".odt (install florence-rag[office])"),
        ("a.doc", ".doc (save as .docx)"),
        ("a.pages", ".pages (save as .pdf)"),
        ("a.mp3", ".mp3"),
    ],
)
def test_the_reason_for_a_skipped_file_says_what_to_do(monkeypatch, name, reason):
    monkeypatch.setattr(uris, "find_spec", lambda package: None)
    uris.missing_extra.cache_clear()
    try:
        assert skip_reason(name) == reason and media_of(name) is None
    finally:
        uris.missing_extra.cache_clear()


@given(NAMES)
def test_a_quoted_name_has_no_hash_and_comes_back(name):
    assert "#" not in quote_name(name)
    assert unquote_name(quote_name(name)) == name


@given(NAMES, NAMES, st.sampled_from(["tar", "parquet", "arrow"]))
def test_the_uri_of_a_member_is_parsed(folder, name, scheme):
    member = Member(scheme, f"/{folder}/a#b.tar", quote_name(name))
    assert parse_member(member.uri) == member


@pytest.mark.parametrize(
    "uri", ["/a/tar:b#c", "tar:a.tar#b", "tar:/a.tar", "zip:/a.zip#b", "https://host/a#b", "member:tar:/a#b", "", "#"]
)
def test_another_form_is_no_member(uri):
    assert parse_member(uri) is None


def test_a_container_may_be_a_url():
    assert parse_member("tar:s3://bucket/a.tar#b.jpg") == Member("tar", "s3://bucket/a.tar", "b.jpg")


def test_urls_and_suffixes():
    assert is_url("S3://a") and is_url("https://a") and not is_url("/a://b") and not is_url("c:/a")
    assert is_http("HTTPS://a") and not is_http("s3://a")
    assert container_scheme("/a/B.TAR") == "tar"
    assert container_scheme("https://host/p.parquet?download=true") == "parquet"
    assert container_scheme("/a/tar") is None and container_scheme("/a/b.jpg") is None


def test_the_suffix_of_a_url_is_that_of_its_path():
    assert suffix_of("https://host/a.JPG?size=1.5#x.png") == ".jpg"
    assert suffix_of("s3://bucket/Album #3/what?/1.JPG") == ".jpg"
    assert suffix_of("https://host.mov") == "" and suffix_of("/a?b.Jpg") == ".jpg"


def test_a_path_is_neither_a_url_nor_a_member():
    assert is_path("/a.jpg") and is_path("a:b#c")
    assert not is_path("https://a/b.jpg") and not is_path("tar:/a.tar#b.jpg")


def test_every_documented_suffix_is_known():
    documented = "jpg jpeg png webp gif bmp tif tiff heic avif mp4 mov mkv webm avi txt md html pdf"
    assert {f".{suffix}" for suffix in documented.split()} <= set(MEDIA_BY_SUFFIX)


def test_the_medium_follows_from_the_suffix_of_a_path_or_url():
    assert media_of("/a/B.JPG") == "image" and media_of("https://host/a.pdf?page=2") == "pdf"
    assert media_of("/a/b.mp3") is None and media_of("/a/jpg") is None
