"""How files differ from what an index knows of them."""

import os

import pytest

from florence_rag.errors import InputError
from florence_rag.ingest.index_diff import IndexSnapshot
from florence_rag.sources import Places, discover
from florence_rag.testing import ColorEmbedder, MemoryIndex


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text(name)
    return tmp_path


@pytest.fixture
def index(folder):
    """Knows a as complete, b as a permanent failure, and nothing of c."""
    index = MemoryIndex(ColorEmbedder.info)
    complete, failed, _ = discover([folder])
    index.begin(complete)
    index.complete(complete)
    index.fail(failed.uri, "damaged", failed)
    return index


def names(found):
    return [os.path.basename(getattr(each, "uri", each)) for each in found]


def test_files_are_new_unchanged_or_rejected(index, folder):
    diff = IndexSnapshot(index).diff([folder])
    assert (names(diff.changed), names(diff.unchanged)) == (["c.txt"], ["a.txt"])
    assert names(each.source for each in diff.rejected) == ["b.txt"]
    assert diff.has_changes and not diff.is_empty and not (diff.gone or diff.unreadable or diff.touched)


def test_a_permanent_failure_is_tried_again_on_request_or_when_the_file_changes(index, folder):
    snapshot = IndexSnapshot(index)
    assert names(snapshot.diff([folder], retry=True).changed) == ["b.txt", "c.txt"]
    (folder / "b.txt").write_text("mended")
    assert names(snapshot.diff([folder]).changed) == ["b.txt", "c.txt"]


def test_a_file_that_is_missing_is_gone_only_on_request(index, folder):
    (folder / "a.txt").unlink()
    snapshot = IndexSnapshot(index)
    assert snapshot.diff([folder]).gone == []
    assert names(snapshot.diff([folder], prune=True).gone) == ["a.txt"]
    assert names(snapshot.diff(Places([str(folder / "a.txt")])).gone) == ["a.txt"]
    with pytest.raises(InputError, match="does not exist"):
        snapshot.diff([folder / "a.txt"])


def test_a_listed_file_that_is_missing_is_a_failure(index, folder):
    diff = IndexSnapshot(index).diff([], listed=[folder / "a.txt", folder / "z.txt"])
    assert [os.path.basename(failure.source) for failure in diff.unreadable] == ["z.txt"]
    assert names(diff.unchanged) == ["a.txt"]


def test_a_file_with_another_time_and_the_same_bytes_is_touched(index, folder):
    os.utime(folder / "a.txt", (1, 1))
    diff = IndexSnapshot(index).diff([folder])
    assert names(diff.touched) == names(diff.unchanged) == ["a.txt"]


def test_a_near_duplicate_is_skipped_until_its_original_is_gone(index, folder):
    (duplicate,) = discover([folder / "c.txt"])
    original = str(folder / "a.txt")
    index.mark_duplicate(duplicate, original)
    snapshot = IndexSnapshot(index)
    assert names(each.source for each in snapshot.diff([folder], drop_near_duplicates=True).rejected) == [
        "b.txt",
        "c.txt",
    ]
    assert names(snapshot.diff([folder], drop_near_duplicates=False).changed) == ["c.txt"]
    (folder / "a.txt").unlink()
    diff = snapshot.diff([folder], prune=True, drop_near_duplicates=True)
    assert (names(diff.gone), names(diff.changed)) == (["a.txt"], ["c.txt"])


def test_the_snapshot_follows_the_run(index, folder):
    snapshot = IndexSnapshot(index)
    diff = snapshot.diff([folder])
    snapshot.update(diff, diff.changed, [], [], {})
    again = snapshot.diff([folder])
    assert names(again.unchanged) == ["a.txt", "c.txt"] and not again.has_changes
    (folder / "c.txt").unlink()
    diff = snapshot.diff([folder], prune=True)
    snapshot.update(diff, [], [], [], {})
    assert names(snapshot.sources) == ["a.txt"]


def test_nothing_found_and_nothing_missing_is_empty(tmp_path):
    assert IndexSnapshot(MemoryIndex(ColorEmbedder.info)).diff([tmp_path]).is_empty
