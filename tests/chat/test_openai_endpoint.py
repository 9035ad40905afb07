"""A conversation by a model behind OpenAI's interface, here a local stand-in that OPENAI_BASE_URL names."""

import json
import threading

import pytest

pytest.importorskip("langchain_openai", reason="needs langchain-openai")

from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from tests.perception.openai_service import Service, completion


def reply(text):
    """Return what the service sends: the text in one chunk of a stream, if the request asks for a stream."""

    def send(body):
        if not body.get("stream"):
            return 200, completion(text)
        delta = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
        chunk = {**completion(""), "object": "chat.completion.chunk", "choices": [delta]}
        return 200, f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode(), ("Content-Type", "text/event-stream")

    return send


@pytest.fixture
def service(monkeypatch):
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "a-key")
        yield server
        server.shutdown()
        thread.join()


def test_the_endpoint_gets_the_images_of_the_turn_and_answers(service, tmp_path):
    for color in ("red", "blue"):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.png")
    service.replies = list(map(reply, ("It is red [1].", "[1.1] the red wall", "It is still red [1].")))
    with FlorenceRAG(MemoryIndex(ColorEmbedder.info), ColorEmbedder()) as rag:
        rag.add(tmp_path)
        chat = rag.chat("openai:some-model")
        turn = chat.ask("What color is the red wall?")
        assert turn.answer.answer == "It is red [1]." and list(turn.citations) == [1]
        assert chat.ask("and is it large?").query == "the red wall"
    assert [path for path, _, _ in service.requests] == ["/v1/chat/completions"] * 3
    images = [str(body).count("data:image/jpeg;base64,") for _, _, body in service.requests]
    assert images[0] == len(turn.images) > 0 and images[1] == 0
