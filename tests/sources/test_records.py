from io import BytesIO

import pytest

from florence_rag.errors import InputError, MediaError
from florence_rag.sources import SourceUnavailable
from florence_rag.sources.io.remote_stat import FileStat
from florence_rag.sources.records import hash_content, hash_version, inspect, make_record
from florence_rag.types import Failure, Source

RECORD = Source("/a.jpg", "image", 4, 7, "hash")


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (MediaError("it is damaged"), Failure("/a.jpg", "it is damaged")),
        (InputError("it cannot be reached"), SourceUnavailable("/a.jpg", "it cannot be reached")),
        (PermissionError(13, "Permission denied"), Failure("/a.jpg", "the file cannot be read: Permission denied")),
    ],
)
def test_errors_become_failures(error, failure):
    def read_record():
        raise error

    found = inspect("/a.jpg", read_record)
    assert found == failure and type(found) is type(failure)


def test_an_unchanged_source_keeps_its_record_and_is_not_hashed():
    known = {"/a.jpg": RECORD}
    assert make_record("/a.jpg", "image", FileStat(4, 7), known, lambda: "other") is RECORD
    assert make_record("/a.jpg", "image", FileStat(4, 8), known, lambda: "other").content_hash == "other"
    assert make_record("/a.jpg", "image", FileStat(4, 0), {}, lambda: "") == Failure(
        "/a.jpg", "the file is empty (0 bytes)"
    )


def test_a_hash_changes_with_the_bytes_the_sidecar_and_the_version():
    hashes = {
        hash_content([BytesIO(b"a")]),
        hash_content([BytesIO(b"b")]),
        hash_content([BytesIO(b"a")], b"caption"),
        hash_version("/a", FileStat(1, 1)),
        hash_version("/a", FileStat(1, 2)),
    }
    assert len(hashes) == 5
    assert hash_content([BytesIO(b"a"), BytesIO(b"b")]) == hash_content([BytesIO(b"ab")])
    assert hash_content([BytesIO(b"")], b"caption") == ""


def test_a_name_with_a_null_character_is_refused():
    assert inspect("tar:/a.tar#x\0d800.png", lambda: None).source == "tar:/a.tar#x\\0d800.png"
