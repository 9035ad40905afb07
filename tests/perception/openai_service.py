"""A local stand-in for a service with OpenAI's chat API."""

import base64
import io
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image


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


def sent_image(body: dict[str, Any]) -> Image.Image:
    """Return the image of a request."""
    kind, data = body["messages"][0]["content"][0]["image_url"]["url"].split(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))
