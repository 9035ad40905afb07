import io
import sys
import threading
import time

import fsspec
import pytest
from fsspec import AbstractFileSystem

from florence_rag.errors import InputError
from florence_rag.sources.io import fsspec_io, open_uri
from florence_rag.sources.io.fsspec_io import fetch, list_files, open_parts, stat
from florence_rag.sources.io.remote_stat import TransferLimits


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    system.pipe({"/in/a.png": b"a", "/in/deep/b.png": b"bb"})
    yield system
    system.rm("/in", recursive=True)


def test_a_remote_file_is_inspected_and_fetched(memory):
    assert stat("memory://in/a.png").size_bytes == 1
    with open_uri("memory://in/deep/b.png") as file:
        assert file.read() == b"bb"
    with open_parts("memory://in/deep/b.png") as file:
        file.seek(1)
        assert file.read() == b"b"


def test_its_version_changes_with_it_and_not_otherwise(memory):
    before = stat("memory://in/a.png").version
    assert before and before == stat("memory://in/a.png").version
    memory.pipe("/in/a.png", b"z")
    assert stat("memory://in/a.png").version != before


def test_folders_and_patterns_are_listed(memory):
    assert list_files("memory://in") == ["memory:///in/a.png", "memory:///in/deep/b.png"]
    assert list_files("memory://in/*.png") == ["memory:///in/a.png"]
    assert list_files("memory://in/a.png") == ["memory://in/a.png"]


def test_a_missing_file_is_one_line(memory):
    for read in (stat, fetch, list_files):
        with pytest.raises(InputError, match=r"'memory://in/gone.png' does not exist"):
            read("memory://in/gone.png")
    with pytest.raises(InputError, match="is a folder"):
        stat("memory://in")


def test_a_file_system_that_is_not_installed_is_named():
    with pytest.raises(InputError, match=r"'zzz://a/b.png' is of no known protocol"):
        stat("zzz://a/b.png")


def test_the_package_that_a_protocol_needs_is_named(monkeypatch):
    known = {"cloud": {"class": "no_such_package.Cloud", "err": "Install cloudfs"}}
    monkeypatch.setattr(sys.modules["fsspec.registry"], "known_implementations", known)
    with pytest.raises(InputError, match="needs a package that is not installed: Install cloudfs"):
        stat("cloud://a/b.png")


def test_a_file_that_is_too_large_is_not_fetched(memory):
    with pytest.raises(InputError, match="more than 1 bytes"):
        fetch("memory://in/deep/b.png", TransferLimits(max_bytes=1))


class SlowFile(io.BytesIO):
    """A file of which a byte arrives now and then."""

    def read(self, size=-1):
        SlowFileSystem.wait("read")
        time.sleep(0.05)
        return super().read(1)


class SlowFileSystem(AbstractFileSystem):
    """A file system whose server does not answer the calls of one kind."""

    protocol = "slow"
    hangs = ""
    release = threading.Event()

    @classmethod
    def wait(cls, call):
        if call == cls.hangs:
            cls.release.wait(20)

    def info(self, path, **options):
        self.wait("info")
        return {"name": path, "size": 1000, "type": "directory" if path == "in" else "file"}

    def find(self, path, **options):
        self.wait("find")
        return []

    def open(self, path, mode="rb", **options):
        self.wait("open")
        return SlowFile(b"a" * 1000)


@pytest.fixture
def slow(monkeypatch):
    fsspec.register_implementation("slow", SlowFileSystem, clobber=True)
    monkeypatch.setattr(fsspec_io, "_LIMITS", TransferLimits(response_s=0.2, total_s=0.4))
    monkeypatch.setattr(SlowFileSystem, "release", threading.Event())
    yield
    SlowFileSystem.release.set()


@pytest.mark.parametrize(
    ("call", "read"),
    [
        ("info", lambda: stat("slow://in/a.png")),
        ("find", lambda: list_files("slow://in")),
        ("open", lambda: open_parts("slow://in/a.png")),
        ("read", lambda: open_parts("slow://in/a.png").read(1)),
        ("read", lambda: fetch("slow://in/a.png")),
    ],
)
def test_a_server_that_does_not_answer_is_an_error_in_time(slow, monkeypatch, call, read):
    monkeypatch.setattr(SlowFileSystem, "hangs", call)
    with pytest.raises(InputError, match=r"'slow://.*' does not answer in time"):
        read()


def test_a_server_that_sends_a_byte_now_and_then_has_one_deadline(slow):
    with pytest.raises(InputError, match=r"'slow://in/a.png' (does not answer in time|took longer than 0\.4 s)"):
        fetch("slow://in/a.png", TransferLimits(total_s=0.4))
