import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.sources.io.uris import Item, is_url, is_web, parse_item, quoted, scheme_of, unquoted

NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)


@given(NAMES)
def test_a_quoted_name_has_no_hash_and_comes_back(name):
    assert "#" not in quoted(name)
    assert unquoted(quoted(name)) == name


@given(NAMES, NAMES, st.sampled_from(["tar", "parquet", "arrow"]))
def test_an_item_is_what_its_uri_says(folder, name, scheme):
    item = Item(scheme, f"/{folder}/a#b.tar", quoted(name))
    assert parse_item(item.uri) == item


@pytest.mark.parametrize(
    "uri", ["/a/tar:b#c", "tar:a.tar#b", "tar:/a.tar", "zip:/a.zip#b", "https://host/a#b", "item:tar:/a#b", "", "#"]
)
def test_what_has_another_form_is_no_item(uri):
    assert parse_item(uri) is None


def test_a_container_may_be_a_url():
    assert parse_item("tar:s3://bucket/a.tar#b.jpg") == Item("tar", "s3://bucket/a.tar", "b.jpg")


def test_urls_and_suffixes():
    assert is_url("S3://a") and is_url("https://a") and not is_url("/a://b") and not is_url("c:/a")
    assert is_web("HTTPS://a") and not is_web("s3://a")
    assert scheme_of("/a/B.TAR") == "tar"
    assert scheme_of("https://host/p.parquet?download=true") == "parquet"
    assert scheme_of("/a/tar") is None and scheme_of("/a/b.jpg") is None
