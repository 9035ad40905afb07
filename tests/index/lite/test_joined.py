"""Several processes share one Milvus Lite database, and survive the one that has it open."""

import base64
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from florence_rag.errors import StoreLockedError
from florence_rag.index.lite.engine import LiteDatabase
from florence_rag.index.lite.joined import JoinedDatabase
from florence_rag.index.lite.lock import lock
from florence_rag.index.lite.served import Endpoint, publish
from florence_rag.index.milvus import MilvusIndex
from florence_rag.types import EmbedderInfo

HOLDER = """
import sys
from florence_rag.index.milvus import MilvusIndex
from florence_rag.types import Chunk, EmbedderInfo, Source

index = MilvusIndex.open(sys.argv[1], EmbedderInfo("colors", "0123456789abcdef", 8, "48 px"))
for number, line in enumerate(sys.stdin):
    source = Source(f"/{number}", "text", 1, 1, "h")
    index.begin(source)
    index.add([Chunk(source, "text", text=line)], [[1.0, 0, 0, 0, 0, 0, 0, 0]])
    index.complete(source)
    index.flush_buffer()
    print(line, end="", flush=True)
index.close()
"""


@pytest.fixture
def holder(db):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLDER, db]
    with subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, text=True) as process:
        write(process, "hello")
        yield process
        process.kill()


def write(process, text):
    process.stdin.write(f"{text}\n")
    process.stdin.flush()
    assert process.stdout.readline() == f"{text}\n"


def test_processes_read_and_write_the_same_database_and_one_succeeds_the_other(db, holder, open_index, put):
    """The holder is killed and another process ends in the middle: nothing is lost, and calls go on."""
    note = Path(db).with_suffix(".server.json")
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    index = open_index()
    assert isinstance(index.chunks.connection._database, JoinedDatabase)
    assert [hit.text for hit in index.search_bm25("hello", 5)] == ["hello\n"]
    write(holder, "again")
    assert list(index.sources()) == ["/0", "/1"]
    put(index, "/a.jpg")
    index.flush()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    put(index, "/b.jpg")
    assert list(index.sources()) == ["/0", "/1", "/a.jpg", "/b.jpg"]
    assert Path(db) in LiteDatabase.running
    index.close()
    assert not note.exists() and Path(db) not in LiteDatabase.running


def test_the_users_of_a_joined_database_are_not_its_only_writers(db, holder, open_index):
    index = open_index()
    assert not index.chunks.connection.is_sole_writer
    holder.stdin.close()
    holder.wait()
    assert index.sources()
    index.close()
    with open_index() as alone:
        assert alone.chunks.connection.is_sole_writer


@pytest.mark.slow
def test_processes_that_wait_succeed_each_other_without_a_loss(db, holder):
    """The holder and each of its successors are killed while the others write, one of them during the takeover."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    script = HOLDER.replace('f"/{number}"', 'f"/{sys.argv[2]}/{number}"').replace("index.close()", "")
    command = [sys.executable, "-c", script, db]
    others = [subprocess.Popen([*command, str(n)], env=environment, stdin=-1, stdout=-1, text=True) for n in range(5)]
    try:
        written = dict.fromkeys(range(5), 0)
        for killed in (holder, *others[:4]):
            for number, other in enumerate(others):
                if other.poll() is None:
                    write(other, "hello")
                    written[number] += 1
            killed.kill()
            killed.wait()
        write(others[4], "at last")
    finally:
        for other in others:
            other.kill()
            other.communicate()
    with MilvusIndex.open(db, EmbedderInfo("colors", "0123456789abcdef", 8, "48 px")) as index:
        stored = set(index.sources())
    assert stored >= {f"/{number}/{n}" for number, count in written.items() for n in range(count)} | {"/0", "/4/5"}


def test_another_program_at_the_address_receives_no_token(db, open_index):
    """A port of this machine in the note is not used, and a program that listens at a socket sees no call."""
    with open_index():
        pass
    engine, endpoint, received = lock(Path(db)), Endpoint(), []
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(endpoint.target.removeprefix("unix:"))
        stranger.listen()
        threading.Thread(target=lambda: received.append(answer(stranger)), daemon=True).start()
        try:
            publish(Path(db), endpoint)
            with pytest.raises(StoreLockedError, match="does not answer"):
                open_index()
        finally:
            engine.close()
            os.unlink(endpoint.target.removeprefix("unix:"))
    assert base64.b64encode(endpoint.token.encode()) not in b"".join(received)


def answer(stranger: socket.socket) -> bytes:
    connection, _ = stranger.accept()
    with connection:
        received = connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        return received


def test_a_process_that_does_not_answer_is_named(db, open_index):
    with open_index():
        pass
    engine = lock(Path(db))
    try:
        publish(Path(db), Endpoint())
        with pytest.raises(StoreLockedError, match="does not answer"):
            open_index()
    finally:
        engine.close()
