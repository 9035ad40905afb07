import asyncio
import itertools

import pytest

from florence_rag.errors import InputError
from florence_rag.server import bodies
from florence_rag.server.access import COOKIE
from florence_rag.server.config import ServerConfig

TOKEN = "a-token-of-many-characters"


def test_names_of_this_machine_are_admitted(client):
    for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "10.0.0.7", "LOCALHOST"):
        assert client.get("/api/info", headers={"host": host}).status_code == 200, host


def test_a_name_that_a_stranger_points_here_is_refused(client):
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[", "a b", "localhost@evil"):
        response = client.get("/api/info", headers={"host": host})
        assert response.status_code == 403 and "--allow-host" in response.json()["error"], host


def test_an_allowed_name_is_admitted(serve):
    client = serve(allowed_hosts=("photos.example",))
    assert client.get("/api/info", headers={"host": "photos.example:8000"}).status_code == 200


def test_pages_of_other_origins_are_refused(client):
    origins = ("http://evil.example", "null", "http://localhost:9999", "https://localhost.evil")
    for origin, method in itertools.product(origins, ("GET", "POST", "PUT", "DELETE", "OPTIONS")):
        response = client.request(method, "/api/uploads/a.png", headers={"origin": origin}, content=b"x")
        assert response.status_code == 403, (origin, method)
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_the_own_page_is_admitted(client):
    assert client.post("/api/search", json={"text": "red"}, headers={"origin": "http://localhost"}).status_code == 200


def test_without_the_token_nothing_is_answered(serve):
    client = serve(token=TOKEN)
    paths = (
        "/api/info",
        "/openapi.json",
        "/api/items/x/media",
        "/mcp",
        "//api/info",
        "/static/../api/info",
        "/API/info",
    )
    for path, headers in itertools.product(
        paths,
        (
            {},
            {"authorization": "Bearer wrong-token-of-many"},
            {"authorization": f"Basic {TOKEN}"},
            {"authorization": TOKEN},
            {"authorization": f"Bearer {TOKEN[:-1]}"},
            {"authorization": f"Bearer {TOKEN}x"},
            {"authorization": "Bearer é".encode()},
            {"cookie": f"{COOKIE}={TOKEN}"},
            {"cookie": f"{COOKIE}="},
        ),
    ):
        response = client.get(path, headers=headers)
        assert response.status_code == 401 and "token" in response.json()["error"], (path, headers)


def test_with_the_token_everything_is_answered(serve):
    client = serve(token=TOKEN)
    assert client.get("/api/info", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_the_page_exchanges_the_token_for_a_cookie_that_scripts_cannot_read(serve):
    client = serve(token=TOKEN)
    assert client.get("/").status_code == 200
    assert client.post("/api/login", json={"token": "wrong"}).status_code == 401
    assert not client.cookies
    cookie = client.post("/api/login", json={"token": TOKEN}).headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
    assert client.get("/api/info").status_code == 200


def test_every_response_carries_the_headers_that_protect_the_page(client):
    for path in ("/", "/static/app.js", "/api/info", "/api/items/none", "/nothing"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"], path


def test_a_body_without_a_length_is_counted(client):
    response = client.post("/api/search", content=itertools.repeat(b" " * 1_000_000, 100))
    assert response.status_code == 413 and "larger than" in response.json()["error"]


@pytest.mark.parametrize("path", ["/api/search", "/mcp"])
def test_a_body_that_takes_long_to_parse_is_refused(client, path):
    headers = {"content-type": "application/json", "accept": "application/json"}
    response = client.post(path, content=b"[" + b"1," * 10_000_000 + b"1]", headers=headers)
    assert response.status_code == 413 and "1,000,000 values" in response.json()["error"]


def test_bodies_in_memory_are_limited_together(client, monkeypatch):
    monkeypatch.setattr(bodies, "MAX_BYTES_AT_ONCE", 1000)
    for _ in range(3):
        assert client.post("/api/search", json={"text": "x" * 2000}).status_code == 503
        assert client.post("/api/search", json={"text": "red"}).status_code == 200


@pytest.mark.parametrize("length", ["-1", "1e9", "99999999999999999999", "abc"])
def test_a_wrong_length_is_refused(client, length):
    assert client.post("/api/search", content=b"{}", headers={"content-length": length}).status_code == 413


@pytest.mark.parametrize("pause_s", [60, 0.03])
def test_a_client_that_sends_nothing_or_too_slowly_is_given_up(client, monkeypatch, pause_s):
    assert bodies.BODY_TIMEOUT_S > 1
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.1)

    async def send_slowly() -> list:
        sent = []
        scope = {
            "type": "http", "method": "POST", "path": "/api/search", "raw_path": b"/api/search", "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")], "scheme": "http",
            "server": ("localhost", 80), "client": ("127.0.0.1", 1), "http_version": "1.1", "root_path": "",
        }  # fmt: skip

        async def receive():
            await asyncio.sleep(pause_s)
            return {"type": "http.request", "body": b"{", "more_body": True}

        async def send(message):
            sent.append(message)

        await client.app(scope, receive, send)
        return sent

    assert asyncio.run(send_slowly())[0]["status"] == 408


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "0.0.0.0"},
        {"host": "10.0.0.7"},
        {"host": "::"},
        {"host": "example.org"},
        {"token": "short"},
        {"token": "with spaces in the middle"},
        {"token": "héllo-héllo-héllo"},
        {"port": 70_000},
        {"allowed_folders": ("/no/such/folder",)},
        {"timeout_s": 0},
        {"max_upload_mb": 0},
    ],
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(InputError):
        ServerConfig(**settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_this_machine_needs_no_token(host):
    assert ServerConfig(host=host).is_local
