"""`florence-rag serve` as a process, and what it refuses before it loads models."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

pytest.importorskip("fastapi", reason="needs the extra server")

from fastapi.testclient import TestClient

from florence_rag import Source, StoreLockedError, check_database
from florence_rag.index.milvus import MilvusIndex
from florence_rag.testing import ColorEmbedder


@pytest.fixture
def no_server(monkeypatch, opened_with):
    """`serve` ends as soon as it would answer requests."""
    from florence_rag.server import run

    monkeypatch.setattr(run, "run", lambda app, listener, ready: ready())
    return opened_with


def test_the_port_is_printed_and_no_token_is_needed_here(run, no_server):
    outcome = run("serve", "--db", "x.db", "--port", "0", "--json")
    assert outcome.code == 0 and outcome.json["event"] == "ready"
    assert outcome.json["url"].startswith("http://127.0.0.1:") and "token" not in outcome.out + outcome.err
    ((_, options),) = no_server
    assert options["create"] is False


def test_a_port_in_use_is_named_before_models_are_loaded(run, no_server):
    with socket.create_server(("127.0.0.1", 0)) as other:
        outcome = run("serve", "--db", "x.db", "--port", other.getsockname()[1])
    assert outcome.code == 1 and "is in use" in outcome.err and "--port" in outcome.err
    assert no_server == []


def test_a_token_is_made_for_other_machines_and_printed_once(run, no_server):
    outcome = run("serve", "--db", "x.db", "--port", "0", "--host", "0.0.0.0")
    assert outcome.code == 0 and (outcome.out + outcome.err).count("#token=") == 1


def test_a_given_token_is_not_printed(run, no_server):
    token = "a-token-of-many-characters"
    outcome = run("serve", "--db", "x.db", "--port", "0", "--host", "0.0.0.0", "--access-token", token, "--json")
    assert outcome.code == 0 and token not in outcome.out + outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--access-token", "short"), "at least 16"),
        (("--allow-folder", "/no/such/folder"), "not a folder"),
    ],
)
def test_wrong_settings_are_one_line(run, no_server, arguments, message):
    outcome = run("serve", "--db", "x.db", "--port", "0", *arguments)
    assert outcome.code == 1 and message in outcome.err and outcome.err.count("\n") == 1
    assert no_server == []


def test_a_host_that_nobody_knows_is_named(run, no_server, monkeypatch):
    def look_up(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    outcome = run("serve", "--db", "x.db", "--host", "no.such.host", "--access-token", "x" * 16)
    assert outcome.code == 1 and "'no.such.host' is not known" in outcome.err


def test_a_chat_model_answers_the_conversations(run, photos, rag, monkeypatch):
    from langchain_core.language_models import GenericFakeChatModel

    from florence_rag.server import run as server

    named, turns = [], []
    model = GenericFakeChatModel(messages=iter(["It is red [1]."]))
    monkeypatch.setattr("langchain.chat_models.init_chat_model", lambda name: named.append(name) or model)
    rag.add(photos)

    def talk(app, listener, ready):
        with TestClient(app, base_url="http://127.0.0.1") as client:
            chat = client.post("/api/chats").json()["id"]
            message = {"text": "What color is the red wall?", "stream": False}
            turns.append(client.post(f"/api/chats/{chat}/messages", json=message).json())

    monkeypatch.setattr(server, "run", talk)
    assert run("serve", "--db", "x.db", "--port", "0", "--llm", "openai:some-model").code == 0
    assert named == ["openai:some-model"]
    assert turns[0]["answer"]["answer"] == "It is red [1]." and turns[0]["images"]


def test_a_missing_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "florence_rag.server.run", raising=False)
    outcome = run("serve", "--db", "x.db")
    assert outcome.code == 1 and "florence-rag[server]" in outcome.err


SCRIPT = """
import pytest
from tests.cli.stand_ins import use_color_models
with pytest.MonkeyPatch.context() as patch:
    use_color_models(patch)
    from florence_rag.rag import FlorenceRAG
    FlorenceRAG.open("colors.db", "colors").close()
    from florence_rag.cli.app import app
    app(["serve", "--db", "colors.db", "--model", "colors", "--port", "0", "--json"])
"""


@pytest.mark.slow
def test_a_process_serves_and_stops_cleanly(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        url = json.loads(process.stdout.readline())["url"]
        with urllib.request.urlopen(f"{url}/api/info", timeout=30) as response:
            assert json.load(response)["sources"] == 0
        with MilvusIndex.open(str(tmp_path / "colors.db"), ColorEmbedder.info, create=False) as index:
            index.begin(Source("/a.txt", "text", 1, 1, "h"))
            index.complete(Source("/a.txt", "text", 1, 1, "h"))
        with urllib.request.urlopen(f"{url}/api/info", timeout=30) as response:
            assert json.load(response)["sources"] == 1, "the server and other programs share the database"
        with pytest.raises(StoreLockedError, match=r"another process has .* open; close it there"):
            check_database(tmp_path / "colors.db")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert not list(tmp_path.glob("*.server.json"))
    assert process.returncode == 0 and err.decode().strip().endswith("Stopped.")
