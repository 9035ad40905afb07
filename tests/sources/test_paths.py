import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from florence_rag.errors import InputError
from florence_rag.sources.paths import (
    Places,
    exists,
    expand_lines,
    expand_paths,
    is_saved_dataset,
    path_to_uri,
    require_paths,
    uri_prefixes,
)
from florence_rag.sources.records import SourceUnavailable
from tests.sources.io.makers import make

pytestmark = pytest.mark.usefixtures("folder")


def test_a_missing_path_of_a_list_is_a_failure(folder):
    make("a.jpg")
    places, missing = expand_lines(["a.jpg\n", "", "  ", "gone.jpg", "http://127.0.0.1:1/x.jpg", "no\0where"])
    assert places.named == [f"{folder}/a.jpg", "http://127.0.0.1:1/x.jpg"]
    assert missing[0] == SourceUnavailable(f"{folder}/gone.jpg", "it does not exist") and len(missing) == 2


def test_a_file_url_is_its_path(folder):
    make("a b.jpg")
    assert expand_paths([f"file://{folder}/a%20b.jpg"]).named == [f"{folder}/a b.jpg"]


@given(st.text(max_size=30))
@example("\0/a")
@example("\0/*")
@example("~\0/a")
def test_any_line_of_a_list_is_a_uri_or_a_failure(line):
    places, missing = expand_lines([line])
    assert places.uris or missing or not line.strip()


def test_the_uris_in_a_folder_or_container_have_its_prefixes(folder):
    assert path_to_uri("s3://bucket/a.jpg") == "s3://bucket/a.jpg"
    assert f"tar:{folder}/a.tar#1.jpg".startswith(uri_prefixes(f"{folder}/a.tar"))
    assert f"{folder}/a/b.jpg".startswith(uri_prefixes(f"{folder}/a"))
    assert not "https://host/b.jpg".startswith(uri_prefixes("https://host"))
    assert not f"tar:{folder}/in/a.tar#1.jpg".startswith(uri_prefixes(f"{folder}/in"))


def test_a_folder_is_resolved_and_a_file_keeps_its_own_name(folder):
    make("real/blob")
    os.symlink("real", "link")
    os.symlink("blob", "real/cat.jpg")
    assert path_to_uri("link") == path_to_uri("./real/") == f"{folder}/real"
    assert path_to_uri("link/cat.jpg") == f"{folder}/real/cat.jpg"
    assert path_to_uri("real/gone.jpg") == f"{folder}/real/gone.jpg"


def test_the_home_folder_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    make("a.jpg")
    assert path_to_uri("~/a.jpg") == f"{folder}/a.jpg"
    assert expand_paths(["~/*.jpg"]).named == [f"{folder}/a.jpg"]


@pytest.mark.parametrize("uri", ["https://host/a b.jpg?x=~", "tar:/a/b.tar#1.jpg"])
def test_a_url_and_a_member_are_uris_already(uri):
    assert path_to_uri(uri) == uri


def test_a_pattern_gives_sorted_folders_and_files_and_the_others_apart(folder):
    make("in/b.jpg", "in/a.tar", "in/c/d.txt", "in/song.mp3", "in/Thumbs.db", "out.jpg")
    os.symlink("../out.jpg", "in/link.jpg")
    os.symlink("..", "in/up")
    named = [f"{folder}/in/{name}" for name in ("a.tar", "b.jpg", "c")]
    below = [f"{folder}/in/{name}" for name in ("link.jpg", "song.mp3", "up")]
    assert expand_paths("in/*") == Places(named, below, [f"{folder}/in"])
    assert f"{folder}/out.jpg" in expand_paths("in/*/*").below
    with pytest.raises(InputError, match=r"'in/\*.mp3' matches no folder and no file of a known kind"):
        expand_paths(["in/*.mp3"])


def test_a_path_is_required_to_exist(folder):
    make("in/a.jpg", "in/b.jpg")
    require_paths(["in", "in/*.jpg", "https://host/a.jpg"])
    for path, message in [("in/c.jpg", "'in/c.jpg' does not exist; give files"), ("in/*.png", "matches no folder")]:
        with pytest.raises(InputError, match=message):
            require_paths(["in", path])


def test_a_member_exists_if_its_container_does_and_a_url_is_assumed_to(folder):
    make("a.tar")
    assert exists(f"{folder}/a.tar") and exists(f"tar:{folder}/a.tar#any.jpg") and exists("https://host/gone.jpg")
    assert not exists(f"{folder}/b.tar") and not exists(f"tar:{folder}/b.tar#any.jpg")


@pytest.mark.parametrize("names", [["state.json", "dataset_info.json"], ["dataset_dict.json"]])
def test_the_rows_of_a_saved_dataset_are_in_its_folder(folder, names):
    row = f"arrow:{folder}/data/data-0.arrow#row=0"
    make("data/other.json")
    assert not is_saved_dataset("data") and not row.startswith(uri_prefixes(f"{folder}/data"))
    for name in names:
        make(f"data/{name}")
    assert is_saved_dataset("data") and row.startswith(uri_prefixes(f"{folder}/data"))


def test_a_folder_with_the_state_of_another_program_is_no_dataset(folder):
    make("photos/state.json")
    assert not is_saved_dataset("photos")


@pytest.mark.parametrize(
    "path", ["~no-such-user\udfff/*.png", "x*/" * 3000, "\ud800*", "a\0*", "a\0/../b?", "~\0", "x" * 5000]
)
def test_a_path_that_no_file_can_have_is_refused(folder, path):
    with pytest.raises(InputError, match=r"no folder and no file|matches nothing|does not exist"):
        expand_paths([path])


def test_a_file_url_that_is_no_url_names_no_file(folder):
    assert path_to_uri("file://[") == "file://["
