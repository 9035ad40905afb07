from florence_rag.ingest.folder_counts import FolderCounts
from florence_rag.types import Skipped


def changes(folders, *sources, recorded=None, unread=()):
    counts = FolderCounts(folders)
    for each in sources:
        counts.add(Skipped(each, ".mp3"))
    return counts.changes(recorded or {}, unread)


def test_files_are_counted_by_the_outermost_folder_or_container():
    sources = ("/a/1.mp3", "/a/b/2.mp3", "/c/3.mp3", "tar:/t.tar#x/4.mp3", "s3://d/e/5.mp3")
    assert changes(["/a", "/a/b", "/t.tar", "s3://d/e/"], *sources) == {
        "/a": {".mp3": 2},
        "/t.tar": {".mp3": 1},
        "s3://d/e": {".mp3": 1},
    }
    assert changes(["/"], "/a/1.mp3") == {"": {".mp3": 1}}


def test_only_what_differs_from_the_record_is_a_change():
    assert changes(["/a"], "/a/1.mp3", recorded={"/a": {".mp3": 1}}) == {}
    assert changes(["/a"], recorded={"/a": {".mp3": 1}}) == {"/a": {}}
    assert changes(["/a"], recorded={"/a": {".mp3": 1}}, unread=["/a"]) == {}


def test_of_folders_inside_each_other_the_outer_one_is_recorded():
    assert changes(["/a"], "/a/b/1.mp3", recorded={"/a/b": {".mp3": 1}}) == {"/a": {".mp3": 1}, "/a/b": {}}
    assert changes(["/a/b"], "/a/b/1.mp3", recorded={"/a": {".mp3": 5}}) == {}
