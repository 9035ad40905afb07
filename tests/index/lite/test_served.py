import json
import os
import stat

import pytest

from florence_rag.index.lite import served
from florence_rag.index.lite.served import Endpoint, publish, published, withdraw

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs the sockets of POSIX")


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder in which the folder of sockets lies; a short name, because paths of sockets are."""
    monkeypatch.setattr(served.tempfile, "tempdir", str(tmp_path / "t"))
    monkeypatch.setattr(served, "_SHORT_FOLDER", str(tmp_path / "t"))
    monkeypatch.setattr(served, "_MAX_SOCKET_BYTES", 1_000)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    (tmp_path / "t").mkdir()
    return tmp_path / "t"


@pytest.fixture
def database(tmp_path):
    (tmp_path / "photos.db").mkdir()
    return tmp_path / "photos.db"


def write_note(database, **fields):
    """Write a note of this user with the folder's own id."""
    path = database.with_suffix(".server.json")
    path.touch(0o600)
    path.write_text(json.dumps({"token": "x", "folder": served.folder_id(database), **fields}))


def test_the_note_can_be_read_by_the_user_only_and_its_token_is_not_shown(database):
    note = database.with_suffix(".server.json")
    endpoint = Endpoint()
    publish(database, endpoint)
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert published(database) == endpoint and endpoint.token not in repr(endpoint)
    note.chmod(0o640)
    assert published(database) is None
    withdraw(database)
    assert not note.exists() and published(database) is None


@pytest.mark.parametrize("note", ["", "[]", "null", "[" * 900, "{}", "\x00", "5", '{"folder": 1}'])
def test_a_note_without_fields_is_ignored(database, note):
    path = database.with_suffix(".server.json")
    path.touch(0o600)
    path.write_text(note)
    assert published(database) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"token": ""},
        {"token": 5},
        {"token": "x" * 2_000},
        {"host": "evil.example"},
        {"target": 8000},
        {"target": "127.0.0.1:8000"},
        {"target": "evil.example:19530"},
        {"target": "unix:relative.sock"},
        {"target": "unix:/tmp/florence.sock"},
        {"target": "unix:/no/such/folder/x.sock"},
        {"target": "unix:/\0/x.sock"},
        {"target": "dns:///evil.example"},
        {"folder": None},
        {"folder": [0, 0]},
    ],
)
def test_a_wrong_note_is_ignored(database, fields):
    own = Endpoint().target
    write_note(database, target=own)
    assert published(database) == Endpoint(own, "x")
    write_note(database, **{"target": own, **fields})
    assert published(database) is None


def test_a_socket_in_a_folder_that_others_can_enter_is_not_used(database, temporary):
    endpoint = Endpoint()
    publish(database, endpoint)
    (folder,) = temporary.iterdir()
    folder.chmod(0o750)
    assert published(database) is None and served.new_target() == served.FREE_PORT
    folder.rmdir()
    folder.symlink_to(database)
    assert published(database) is None and served.new_target() == served.FREE_PORT


def test_a_long_folder_for_temporary_files_is_no_obstacle(temporary, monkeypatch):
    monkeypatch.setattr(served.tempfile, "tempdir", str(temporary / ("long" * 300)))
    assert served.new_target().startswith(f"unix:{temporary}/florence-rag-")


def test_a_pipe_or_a_link_in_place_of_the_note_is_not_read(database, tmp_path):
    publish(database, Endpoint())
    note = database.with_suffix(".server.json")
    note.rename(tmp_path / "other")
    note.symlink_to(tmp_path / "other")
    assert published(database) is None
    note.unlink()
    os.mkfifo(note, 0o600)
    assert published(database) is None


def test_the_note_of_a_copy_names_another_engine(database, tmp_path):
    publish(database, Endpoint())
    for name in ("photos.db", "photos.server.json"):
        (tmp_path / name).rename(tmp_path / name.replace("photos", "moved"))
    assert published(tmp_path / "moved.db")
    (tmp_path / "copy.db").mkdir()
    (tmp_path / "moved.server.json").rename(tmp_path / "copy.server.json")
    assert published(tmp_path / "copy.db") is None


def test_a_link_in_place_of_the_note_is_replaced_and_not_followed(database, tmp_path):
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / "photos.server.json").symlink_to(other)
    publish(database, endpoint := Endpoint())
    assert published(database) == endpoint
    assert other.read_text() == "kept"
