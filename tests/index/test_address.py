from pathlib import Path

import pytest

from florence_rag.errors import InputError, StoreUnavailableError
from florence_rag.index.address import Address, image_folder
from florence_rag.index.milvus import MilvusIndex


@pytest.mark.parametrize(
    "uri", ["http://localhost:19530", "https://host", "tcp://10.0.0.1:1/db/", "unix:/run/m.sock", "HTTP://[::1]:9"]
)
def test_a_server_has_no_path(uri):
    assert Address.parse(uri) == Address(uri, None)


@pytest.mark.parametrize(
    ("uri", "name"), [("https://host", ""), ("tcp://h:1/db/", "db"), ("unix:///run/m.sock", ""), ("a/photos.db", "")]
)
def test_an_address_may_name_a_database_of_a_server(uri, name):
    assert Address.parse(uri).database == name


@pytest.mark.parametrize(
    ("uri", "advice"),
    [
        ("http://host:1", r"create it with: florence-rag index PATH --db http://host:1$"),
        ("http://host:1/x", r"create the database 'x' on the server if it does not exist, and then the index with: "),
    ],
)
def test_a_missing_index_on_a_server_is_created_in_a_database_that_exists(uri, advice, monkeypatch):
    monkeypatch.setattr(MilvusIndex, "recorded_embedders", lambda *_: None)
    with pytest.raises(StoreUnavailableError, match=advice):
        MilvusIndex.require_embedders(uri)


def test_a_file_has_an_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Address.parse("photos.db").path == tmp_path / "photos.db"
    assert Address.parse("./x/../photos.db/").path == tmp_path / "photos.db"
    assert Address.parse("~/photos.db").path == Path.home().resolve() / "photos.db"


@pytest.mark.parametrize("uri", ["photos", "photos.sqlite", "", "ftp://host/photos.db", "photos.DB", "localhost:19530"])
def test_other_addresses_are_refused_with_the_alternatives(uri):
    with pytest.raises(
        InputError, match=r"is not a database; use a folder name that ends in .db, or http://HOST:19530"
    ):
        Address.parse(uri)


@pytest.mark.parametrize(
    "uri",
    [
        *("http://", "http://:19530", "https://host:0", "http://host:65536", "http://host:port", "http://host:-1"),
        *("http://ho st:19530", "http://host:19530\n", "tcp://host\\x", "http://[::1:19530", "http:///database"),
        *("http://host:19530/a/b", "http://host:19530/?db=a", "http://host#a", "http://user:password@:19530"),
    ],
)
def test_an_address_that_names_no_server_is_refused(uri):
    """pymilvus would take the server of this machine, or ignore a part."""
    with pytest.raises(InputError, match="is not the address of a server; use http://HOST:19530 or") as refused:
        Address.parse(uri)
    assert "password" not in str(refused.value)


def test_messages_never_show_a_password():
    assert str(Address.parse("https://root:Milvus@host:19530/db")) == "https://host:19530/db"
    assert str(Address.parse("photos.db")) == "photos.db"


def test_the_image_folder_is_next_to_a_database_file_and_a_server_has_none(tmp_path):
    assert image_folder(str(tmp_path / "photos.db"), "florence") == tmp_path / "photos.images" / "florence"
    assert image_folder("http://localhost:19530", "florence") is None
