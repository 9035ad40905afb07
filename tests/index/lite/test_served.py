import json
import stat

import pytest

from florence_rag.index.lite.served import Endpoint, publish, published, withdraw


def test_the_note_can_be_read_by_the_user_only_and_its_token_is_not_shown(tmp_path):
    database, note = tmp_path / "photos.db", tmp_path / "photos.server.json"
    endpoint = Endpoint(8000)
    publish(database, endpoint)
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert published(database) == endpoint and endpoint.token not in repr(endpoint)
    note.chmod(0o640)
    assert published(database) is None
    withdraw(database)
    assert not note.exists() and published(database) is None


@pytest.mark.parametrize(
    "note",
    [
        "",
        "[]",
        "null",
        "[" * 900,
        json.dumps({"port": 8000, "token": ""}),
        json.dumps({"port": 2**40, "token": "x"}),
        json.dumps({"port": "8000", "token": "x"}),
        json.dumps({"port": -1, "token": "x"}),
        json.dumps({"port": 8000, "token": 5}),
        json.dumps({"port": 8000, "token": "x", "host": "evil.example"}),
        json.dumps({"port": 8000, "token": "x" * 2_000}),
    ],
)
def test_a_wrong_note_is_ignored(tmp_path, note):
    path = tmp_path / "photos.server.json"
    path.touch(0o600)
    path.write_text(note)
    assert published(tmp_path / "photos.db") is None


def test_a_link_in_place_of_the_note_is_replaced_and_not_followed(tmp_path):
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / "photos.server.json").symlink_to(other)
    publish(tmp_path / "photos.db", Endpoint(8000))
    assert published(tmp_path / "photos.db").port == 8000
    assert other.read_text() == "kept"
