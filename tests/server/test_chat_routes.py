import json
import threading
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException

from florence_rag.chat.session import Chat
from florence_rag.errors import ModelError
from florence_rag.server.service import Service
from tests.server.conftest import image_file, leave_in_the_middle
from tests.server.test_search_routes import as_uri


def events(response):
    assert response.headers["content-type"].startswith("text/event-stream")
    for part in response.text.split("\n\n")[:-1]:
        name, data = part.split("\n")
        yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@pytest.fixture
def chat(client):
    """The path of a new conversation."""
    return f"/api/chats/{client.post('/api/chats').json()['id']}"


def ask(client, chat, text, **fields):
    response = client.post(f"{chat}/messages", json={"text": text, "stream": False, **fields})
    assert response.status_code == 200, response.text
    return response.json()


def test_a_message_and_a_follow_up(client, chat):
    first = ask(client, chat, "show me something red red purple")
    assert Path(first["hits"][0]["source"]).name == "red.png"
    second = ask(client, chat, "only videos")
    assert {hit["kind"] for hit in second["hits"]} == {"clip"}
    assert [turn["question"] for turn in client.get(chat).json()["turns"]] == [first["question"], "only videos"]


def test_the_answer_is_streamed_and_ends_with_the_turn(client, chat):
    received = list(events(client.post(f"{chat}/messages", json={"text": "something blue"})))
    assert [name for name, _ in received][-1] == "turn" and "text" in dict(received)
    assert Path(received[-1][1]["hits"][0]["source"]).name == "blue.png"


def test_a_message_about_an_image(client, chat):
    turn = ask(client, chat, "What color is it?", image=as_uri(image_file("pink")))
    assert "pink" in turn["answer"]["answer"] and turn["image"].startswith("data:image/jpeg")


def test_conversations_are_apart_and_can_be_ended(client, chat):
    ask(client, chat, "something red")
    other = f"/api/chats/{client.post('/api/chats').json()['id']}"
    assert client.get(other).json() == {"turns": []}
    assert client.delete(chat).status_code == 204
    for response in (client.get(chat), client.delete(chat), client.post(f"{chat}/messages", json={"text": "x"})):
        assert response.status_code == 404 and "begin a new one" in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"text": " "}, 400), ({"text": "x" * 5000}, 422), ({"text": "x", "image": "/etc/passwd"}, 400)],
)
def test_a_wrong_message_is_one_line_and_the_conversation_goes_on(client, chat, body, status):
    response = client.post(f"{chat}/messages", json={**body, "stream": False})
    assert response.status_code == status and "\n" not in response.json()["error"]
    assert ask(client, chat, "something red")["hits"]


def test_an_error_is_an_event_and_the_conversation_goes_on(client, chat, monkeypatch):
    with monkeypatch.context() as patch:

        def fail(self, *_):
            yield "The car"
            raise ModelError("the chat model does not answer")

        patch.setattr(Chat, "stream", fail)
        received = list(events(client.post(f"{chat}/messages", json={"text": "hello"})))
    assert received == [("text", {"text": "The car"}), ("error", {"error": "the chat model does not answer"})]
    assert ask(client, chat, "something red")["hits"]


def test_one_message_at_a_time(client, chat, monkeypatch):
    begun, release = threading.Event(), threading.Event()

    def wait(self, *_):
        begun.set()
        release.wait(30)
        yield "done"

    monkeypatch.setattr(Chat, "stream", wait)
    first = threading.Thread(target=client.post, args=(f"{chat}/messages",), kwargs={"json": {"text": "a"}})
    first.start()
    begun.wait(30)
    second = client.post(f"{chat}/messages", json={"text": "b"})
    release.set()
    first.join()
    assert second.status_code == 409 and "wait" in second.json()["error"]


def test_a_client_that_leaves_ends_the_answer_and_frees_the_conversation(client, chat, monkeypatch):
    closed, parts = threading.Event(), iter(range(1_000_000))

    def endless(self, *_):
        try:
            for _ in parts:
                yield "word "
                closed.wait(0.01)
        finally:
            closed.set()

    monkeypatch.setattr(Chat, "stream", endless)
    body = json.dumps({"text": "tell me everything"}).encode()
    leave_in_the_middle(
        client, "POST", f"{chat}/messages", [body], lambda sent: sent.get("body", b"").startswith(b"event: text")
    )
    assert closed.wait(30)


def test_a_message_that_was_given_up_before_it_began_frees_the_conversation(client, chat, monkeypatch):
    async def refuse(*_):
        raise HTTPException(503, "the server is busy; try again")

    for stream in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(Service, "long", refuse)
            assert "busy" in client.post(f"{chat}/messages", json={"text": "red", "stream": stream}).text
        assert ask(client, chat, "something red")["hits"]


def test_conversations_cannot_fill_the_memory(client, chat, monkeypatch):
    from florence_rag.server import chat_routes, chat_sessions

    monkeypatch.setattr(chat_routes, "MAX_TURNS_EACH", 2)
    monkeypatch.setattr(chat_sessions, "MAX_TURNS", 2)
    other = f"/api/chats/{client.post('/api/chats').json()['id']}"
    for each in (chat, other, other):
        ask(client, each, "something red")
    response = client.post(f"{other}/messages", json={"text": "something blue"})
    assert response.status_code == 409 and "begin a new one" in response.json()["error"]
    assert client.get(chat).status_code == 404


def test_the_oldest_conversation_is_forgotten_first(client, chat, monkeypatch):
    from florence_rag.server import chat_sessions

    monkeypatch.setattr(chat_sessions, "MAX_CHATS", 2)
    second = client.post("/api/chats").json()["id"]
    ask(client, chat, "something red")
    client.post("/api/chats")
    assert client.get(chat).status_code == 200
    assert client.get(f"/api/chats/{second}").status_code == 404
