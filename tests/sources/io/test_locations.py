import os

import pytest

from florence_rag.errors import InputError, MediaError
from florence_rag.sources.io.locations import open_file, open_parts, open_whole, stat, stat_for_cache
from florence_rag.sources.io.remote_stat import FileStat
from tests.sources.io.makers import Page, serving


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(MediaError, match=r"gone\.jpg' cannot be opened: No such file"):
        open_file(str(tmp_path / "gone.jpg"))
    with pytest.raises(MediaError, match="cannot be opened"):
        open_file("a\0b.jpg")
    for read in (open_parts, stat):
        with pytest.raises(InputError, match=r"gone\.tar' cannot be"):
            read(str(tmp_path / "gone.tar"))


def test_files_and_urls_are_read_alike(tmp_path):
    (tmp_path / "a").write_bytes(b"data")
    os.utime(tmp_path / "a", ns=(1, 7))
    with serving({"/a": Page(b"data", {"ETag": "1"}, ranges=True)}) as site:
        for location in (str(tmp_path / "a"), f"{site.url}/a"):
            for opener in (open_whole, open_parts):
                with opener(location) as file:
                    assert file.seek(1) == 1 and file.read() == b"ata"
            assert stat(location).size_bytes == 4 and stat(location).version
        assert stat(str(tmp_path / "a")).version == 7
        assert stat_for_cache(f"{site.url}/a") == FileStat() != stat_for_cache(str(tmp_path / "a"))
