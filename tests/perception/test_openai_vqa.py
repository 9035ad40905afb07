import base64
import io
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from florence_rag.errors import InputError, ModelError
from florence_rag.perception.base import Matcher, VisualQA
from florence_rag.perception.openai_vqa import OpenAIVisionQA
from florence_rag.testing import color_frame

KEY = "secret-key"


def completion(content, logprobs=None) -> dict:
    tokens = None if logprobs is None else {"content": [{"token": "x", "logprob": p} for p in logprobs]}
    choice = {"index": 0, "finish_reason": "stop", "logprobs": tokens}
    choice["message"] = {"role": "assistant", "content": content}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


class Service(ThreadingHTTPServer):
    """A local service that sends the `replies`: (status, body), a function of the request, or None to hang up."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.replies, self.requests = [], []
        self.released = threading.Event()

    def handle_error(self, request, client_address):
        """Print nothing about a client that closed its connection."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers, body))
        reply = self.server.replies.pop(0)
        reply = reply(body) if callable(reply) else reply
        if reply is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, content, *headers = reply
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers or [("Content-Type", "application/json")]:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        """Print nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def ask(service):
    """Ask the service for the color of an image, by a model with these options."""
    opened = []

    def ask(frame=None, question="What color is it?", **options):
        options = {"base_url": service.url, "api_key": KEY, "retries": 0, "timeout_s": 5.0, **options}
        model = OpenAIVisionQA("seer", **options)
        opened.append(model)
        return model.answer(color_frame("red") if frame is None else frame, question)

    yield ask
    for model in opened:
        model.close()


def test_it_is_a_visual_qa_model_and_no_matcher(service):
    model = OpenAIVisionQA("seer", base_url=service.url)
    assert isinstance(model, VisualQA) and not isinstance(model, Matcher)
    model.close()


def test_the_request_has_the_question_and_the_image(service, ask):
    service.replies = [(200, completion("Red."))]
    wide = np.tile(color_frame("red", "blue", size_px=600), (1, 4, 1))
    assert ask(wide, "  What color?\n", max_side_px=256, options={"temperature": 0}).answer == "Red"
    ((path, headers, body),) = service.requests
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert (body["model"], body["temperature"], body["logprobs"]) == ("seer", 0, True)
    picture, text = body["messages"][0]["content"]
    assert text["text"].endswith("Question: What color?")
    kind, data = picture["image_url"]["url"].split(",")
    sent = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (kind, sent.format, sent.size) == ("data:image/jpeg;base64", "JPEG", (256, 64))
    assert abs(np.asarray(sent)[5, 5].astype(int) - (255, 0, 0)).max() < 30


def test_confidence_is_the_probability_of_the_whole_answer(service, ask):
    service.replies = [(200, completion("a red\n car", [-0.1, -0.2, 0.0]))]
    result = ask()
    assert (result.answer, result.confidence) == ("a red car", pytest.approx(0.7408, abs=1e-4))
    assert result.candidates == (("a red car", result.confidence),)


@pytest.mark.parametrize("logprobs", [None, []])
def test_without_probabilities_there_is_no_confidence(service, ask, logprobs):
    service.replies = [(200, completion("red", logprobs))]
    result = ask()
    assert (result.answer, result.confidence, result.candidates) == ("red", None, ())


def test_a_service_that_refuses_log_probabilities_gets_requests_without_them(service):
    refusal = (400, {"error": {"message": "logprobs are not supported by this model"}})
    service.replies = [refusal, (200, completion("red")), (200, completion("blue"))]
    model = OpenAIVisionQA("seer", base_url=service.url, retries=0)
    assert [model.answer(color_frame("red"), "What?").answer for _ in range(2)] == ["red", "blue"]
    assert ["logprobs" in body for _, _, body in service.requests] == [True, False, False]
    assert service.requests[0][1]["Authorization"] == "Bearer none"
    model.close()


def test_an_abbreviation_keeps_its_point(service, ask):
    service.replies = [(200, completion("3 p.m."))]
    assert ask().answer == "3 p.m."


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((401, {"error": {"message": "Incorrect API key"}}), r"refuses the key \(401\): .*Incorrect API key"),
        ((403, {"error": {"message": "region"}}), r"refuses the key \(403\)"),
        ((404, {"error": {"message": "The model does not exist"}}), "has no model 'seer'"),
        ((400, {"error": {"message": "image too large"}}), r"failed \(400\): .*image too large"),
        ((429, {"error": {"message": "quota"}}), r"failed \(429\): .*quota"),
        ((500, b"<html>oops\n\n</html>", ("Content-Type", "text/html")), r"failed \(500\)"),
        ((200, b"{'broken", ("Content-Type", "application/json")), "not an answer"),
        ((200, b"<html>a portal</html>", ("Content-Type", "text/html")), "not an answer: <html>a portal"),
        ((200, {"choices": []}), "not an answer"),
        ((200, {"choices": None}), "not an answer"),
        ((200, {"detail": "what?"}), "not an answer"),
        ((200, [1, 2]), "not an answer"),
        ((200, completion("")), "not an answer"),
        ((200, completion(None)), "not an answer"),
        ((200, completion(["a", "list"])), "not an answer"),
        ((200, completion("red", ["many"])), "not an answer"),
        (None, "cannot be reached"),
    ],
)
def test_a_service_that_misbehaves_is_a_model_error_in_one_line(service, ask, reply, message):
    service.replies = [reply]
    with pytest.raises(ModelError, match=message) as caught:
        ask()
    text = str(caught.value)
    assert service.url in text and "\n" not in text and KEY not in text and len(text) < 500


def test_a_temporary_failure_is_retried(service, ask):
    soon = (429, {"error": {"message": "slow down"}}, ("Content-Type", "application/json"), ("Retry-After", "0.01"))
    service.replies = [soon, (200, completion("red"))]
    assert ask(retries=1).answer == "red"
    assert len(service.requests) == 2


def test_a_timeout_is_a_model_error(service, ask):
    service.replies = [lambda _: service.released.wait(30) and None]
    with pytest.raises(ModelError, match=r"did not answer within 0\.2 s"):
        ask(timeout_s=0.2)


def test_an_unreachable_address_is_named_in_the_error(ask):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(ModelError, match=f"{url} cannot be reached .* is it running"):
            ask(base_url=url)


def test_an_empty_question_is_refused_before_anything_is_sent(service, ask):
    with pytest.raises(InputError, match="the question is empty"):
        ask(question=" \n")
    assert service.requests == []


def test_openai_itself_needs_a_key():
    with pytest.raises(ModelError, match="OpenAI needs a key"):
        OpenAIVisionQA("gpt-4o")


def test_without_the_sdk_the_extra_is_named():
    script = (
        "import sys; sys.modules['openai'] = None\n"
        "try:\n    import florence_rag.perception.openai_vqa\n"
        "except ImportError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert "pip install 'florence-rag[openai]'" in said
