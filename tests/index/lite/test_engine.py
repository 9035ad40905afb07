import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from milvus_lite.engine.collection import Collection

from florence_rag.errors import StoreError, StoreUnavailableError
from florence_rag.index.lite import lock
from florence_rag.index.lite.engine import LiteDatabase
from florence_rag.index.milvus import MilvusIndex

HOLD = """
import sys, time
from florence_rag.index.lite.engine import LiteDatabase
from pathlib import Path
LiteDatabase.acquire(Path(sys.argv[1]), create=True)
print("open", flush=True)
time.sleep(60)
"""

FORK_AND_HOLD = """
import os, sys, time
from florence_rag.index.lite.engine import LiteDatabase
from pathlib import Path
LiteDatabase.acquire(Path(sys.argv[1]), create=True)
if os.fork() == 0:
    print(os.getpid(), flush=True)  # by the child, which has left the database to its parent by now
time.sleep(300)
"""


def start(script: str, *arguments: str) -> tuple[subprocess.Popen, str]:
    """Start a process that runs the script, and return it with its first line of output."""
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    process.stdout.close()


def test_calls_that_are_the_first_at_once_open_a_collection_once(db, open_index, put, monkeypatch):
    with open_index() as index:
        put(index)
    opened, init = [], Collection.__init__

    def slow(self, *args, **options):
        opened.append(self)
        time.sleep(0.1)
        init(self, *args, **options)

    monkeypatch.setattr(Collection, "__init__", slow)
    with closing(lock.lock(Path(db))) as engine, ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: engine.get_collection("florence"), range(4)))) == 1
    assert len(opened) == 1


def test_closing_unlocks_the_database(db, open_index, put):
    with open_index() as index:
        put(index)
    process, line = start(HOLD, db)
    end(process)
    assert line == "open"
    with open_index() as index:
        assert list(index.sources()) == ["/photos/a.jpg"]


def test_two_indexes_in_one_process_share_the_database(db, open_index, put, source):
    first, second = open_index(), open_index()
    put(first, "/a")
    first.flush()
    assert list(second.sources()) == ["/a"]
    first.close()
    put(second, "/b")
    assert list(second.sources()) == ["/a", "/b"]
    second.close()
    assert Path(db) not in LiteDatabase.running


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_does_not_keep_the_lock_of_its_dead_parent(db, open_index):
    process, child = start(FORK_AND_HOLD, db)
    try:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert open_index().sources() == {}
    finally:
        os.kill(int(child), signal.SIGKILL)  # fails if it was dead already, which would prove nothing
        process.stdout.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_must_open_the_database_itself_and_changes_nothing(index, put):
    put(index, n=5)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            index.sources()
        except StoreError as error:
            os.write(write, str(error).encode())
        index.close()
        LiteDatabase.stop_all()
        os._exit(0)
    os.close(write)
    message = os.read(read, 10_000).decode()
    os.close(read)
    os.waitpid(child, 0)
    assert f"was opened by process {os.getpid()}, of which this one is a fork; open it again here" in message
    put(index, "/b")
    assert list(index.sources()) == ["/b", "/photos/a.jpg"]


def test_a_folder_that_took_the_place_of_an_open_one_is_not_written(db, tmp_path, open_index, put):
    """Milvus Lite writes to paths, so it would write the rows of the open database into the new one."""
    index = open_index()
    put(index, "/a")
    index.flush_buffer()
    Path(db).rename(tmp_path / "moved.db")
    for call in (index.sources, lambda: index.search_bm25("hello", 1), lambda: (put(index, "/b"), index.flush())):
        with pytest.raises(StoreError, match="was moved, deleted or replaced while it was open; open it again"):
            call()
    process, line = start(HOLD, db)
    end(process)
    assert line == "open"
    before = sorted(Path(db).rglob("*"))
    with pytest.raises(StoreError, match="moved"):
        index.close()
    assert sorted(Path(db).rglob("*")) == before
    with open_index(uri=str(tmp_path / "moved.db")) as moved:
        assert list(moved.sources()) == ["/a"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_among_the_files_is_named_and_not_read(db, open_index, put):
    with open_index() as index:
        put(index)
    pipe = next(Path(db).rglob("*.parquet"))
    pipe.unlink()
    os.mkfifo(pipe)
    with pytest.raises(StoreUnavailableError, match=r"\.parquet is a pipe, a socket or a device; move it away"):
        open_index()


def test_a_missing_folder_is_named(tmp_path, open_index):
    with pytest.raises(StoreUnavailableError, match=r"there is no folder .*/nowhere; create it"):
        open_index(uri=str(tmp_path / "nowhere" / "test.db"))
    assert list(tmp_path.iterdir()) == []


def test_opening_a_missing_database_without_create_creates_nothing(tmp_path, db, open_index):
    with pytest.raises(StoreUnavailableError, match=r"there is no database .*; create it with: florence-rag index"):
        open_index(create=False)
    assert MilvusIndex.recorded_embedders(db) is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_the_name_of_the_database_is_not_changed(db, open_index):
    Path(db).write_text("SQLite format 3")
    with pytest.raises(StoreUnavailableError, match="is a file, but Milvus Lite 3 needs a folder"):
        open_index()
    assert MilvusIndex.recorded_embedders(db) is None
    assert Path(db).read_text() == "SQLite format 3"


def test_a_folder_with_other_files_is_not_changed(db, open_index):
    Path(db).mkdir()
    (Path(db) / "letter.txt").write_text("dear")
    with pytest.raises(StoreUnavailableError, match="contains other files than a database"):
        open_index()
    assert [path.name for path in Path(db).iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_named_with_the_reason(monkeypatch, db, open_index, number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock, "_Engine", fail)
    with pytest.raises(StoreUnavailableError, match=rf"test.db cannot be written \({os.strerror(number)}\)"):
        open_index()


def test_a_disk_without_locks_is_named(monkeypatch, db, open_index):
    def fail(*_, **__):
        raise lock.DataDirLockedError("no locks") from OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_Engine", fail)
    with pytest.raises(StoreUnavailableError, match=r"cannot be locked \(No locks available\); use a local disk"):
        open_index()


def test_threads_that_write_at_once_lose_nothing(db, open_index, put):
    """Two indexes of one process write, and the process is killed; Lite alone loses nearly all rows."""
    script = f"""
import os, sys, threading
sys.path[:0] = {sys.path!r}
import numpy as np
from florence_rag.index.milvus import MilvusIndex
from florence_rag.types import Chunk, EmbedderInfo, Locator, Source

indexes = [MilvusIndex.open({db!r}, EmbedderInfo("colors", "0123456789abcdef", 8, "48 px")) for _ in range(2)]
vectors = np.eye(8, dtype=np.float32)

def fill(thread):
    index = indexes[thread % 2]
    for i in range(25):
        source = Source(f"/{{thread}}/{{i}}", "text", 1, 1, "h")
        index.begin(source)
        index.add([Chunk(source, "text", Locator(span=(j, j + 1))) for j in range(8)], vectors)
        index.complete(source)
        if i % 5 == 0:
            index.flush_buffer()
    index.flush_buffer()

threads = [threading.Thread(target=fill, args=(n,)) for n in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("written", flush=True)
os.kill(os.getpid(), 9)
"""
    process, line = start(script)
    end(process)
    assert line == "written"
    with open_index() as index:
        assert index.info().chunks == {"text": 800}
        assert index.chunks.connection.count("florence") == 800


def test_an_index_that_was_not_closed_is_flushed_when_the_process_ends(db, open_index):
    script = f"""
import sys
sys.path[:0] = {sys.path!r}
from florence_rag.index.milvus import MilvusIndex
from florence_rag.types import Chunk, EmbedderInfo, Source

index = MilvusIndex.open({db!r}, EmbedderInfo("colors", "0123456789abcdef", 8, "48 px"))
source = Source("/a", "text", 1, 1, "h")
index.begin(source)
index.add([Chunk(source, "text", text="hello")], [[1.0, 0, 0, 0, 0, 0, 0, 0]])
index.complete(source)
assert index.search_bm25("hello", 1)
print("end")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr, done.returncode) == ("end\n", "", 0)
    assert list(open_index().sources()) == ["/a"]


def test_an_engine_has_few_threads(index, put):
    put(index, n=100)
    index.close()
    assert threading.active_count() < 50
