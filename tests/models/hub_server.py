"""A local server with the few endpoints of huggingface.co that a download requests; it can break off transfers."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    """Serves the folders of the server's `repositories`; breaks off each file after `cut` bytes of it."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.server.requested.append(path)  # type: ignore[attr-defined]
        parts = path.removeprefix("api/models/").split("/")
        folder = self.server.repositories.get("/".join(parts[:2]))  # type: ignore[attr-defined]
        if folder is None:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
        elif not path.startswith("api/"):
            self._send_file(folder / "/".join(parts[4:]), body)
        elif "tree" in parts:
            self._send_json(_tree(folder), body)
        else:
            self._send_json({"id": "/".join(parts[:2]), "sha": COMMIT, "siblings": []}, body)

    def _send_json(self, content: Any, body: bool) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"}, body)

    def _send_file(self, file: Path, body: bool) -> None:
        content = file.read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        headers = {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206 if start else 200, content[start:], headers, body)

    def _send(self, code: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        cut = self.server.cut  # type: ignore[attr-defined]
        if body and cut is not None and len(content) > cut:
            self.wfile.write(content[:cut])
            self.close_connection = True
        elif body:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def _digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _tree(folder: Path) -> list[dict[str, Any]]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return [
        {
            "type": "file",
            "path": file.relative_to(folder).as_posix(),
            "size": file.stat().st_size,
            "oid": _digest(file.read_bytes()),
        }
        for file in files
    ]


@contextmanager
def serving(repositories: dict[str, Path]) -> Iterator[Any]:
    """Run the server; it has its `url`, the paths that were `requested`, and `cut`, which you may set."""
    hub: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    hub.repositories, hub.requested, hub.cut = repositories, [], None
    hub.url = f"http://127.0.0.1:{hub.server_port}"
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    yield hub
    hub.shutdown()
    hub.server_close()
    thread.join()
