import socket
import threading
import time

import pytest

from florence_rag.errors import InputError
from florence_rag.sources.io import http, ip_guard
from florence_rag.sources.io.remote_stat import TransferLimits
from tests.sources.io.makers import SLOW, Page, serving, slow_server

LIMITS = TransferLimits(max_bytes=100_000, idle_s=2.0, total_s=5.0)


def fetched(url, limits=LIMITS):
    with http.fetch(url, limits) as file:
        return file.read()


def test_the_state_of_a_file_is_read_without_fetching_it():
    page = Page(b"x" * 9, {"ETag": '"1"', "Content-Type": "image/png; charset=x"})
    with serving({"/a": page}) as site:
        found = http.stat(f"{site.url}/a", LIMITS)
        assert (found.size_bytes, found.media_type) == (9, "image/png") and found.version
        assert site.requests == [("HEAD", "/a")]
        page.headers["ETag"] = '"2"'
        assert http.stat(f"{site.url}/a", LIMITS).version != found.version
        page.headers = {}
        assert http.stat(f"{site.url}/a", LIMITS).version == 0


def test_a_server_without_head_gets_a_get():
    with serving({"/a": Page(b"x" * 9, {"ETag": "1"}, supports_head=False)}) as site:
        assert http.stat(f"{site.url}/a", LIMITS).size_bytes == 9


def test_the_bytes_are_fetched():
    with serving({"/a b.png": Page(status=404), "/a%20b.png": Page(b"data")}) as site:
        assert fetched(f"{site.url}/a b.png") == b"data"


@pytest.mark.parametrize(("status", "message"), [(404, "404 Not Found"), (403, "403 Forbidden"), (500, "500")])
def test_an_error_status_is_one_line(status, message):
    with serving({"/a": Page(status=status)}) as site:
        for read in (http.stat, http.fetch):
            with pytest.raises(InputError, match=f"cannot be fetched: the server answers {message}"):
                read(f"{site.url}/a", LIMITS)


def test_a_closed_port_is_one_line():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.jpg"
        with pytest.raises(InputError, match=r"a.jpg' cannot be reached"):
            http.stat(url, LIMITS)


def test_a_silent_server_times_out():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.jpg"
        with pytest.raises(InputError, match="does not answer in time"):
            http.stat(url, TransferLimits(idle_s=0.2))


def test_a_download_that_breaks_off_is_an_error():
    with serving({"/a": Page(b"x" * 50, claimed_bytes=100)}) as site, pytest.raises(InputError, match="broke off"):
        fetched(f"{site.url}/a")


def test_a_file_that_is_too_large_is_not_fetched():
    with serving({"/a": Page(b"x" * 200_000)}) as site, pytest.raises(InputError, match="more than 100,000 bytes"):
        fetched(f"{site.url}/a")


def test_a_transfer_that_takes_too_long_is_ended():
    with serving({"/a": Page(b"x")}) as site, pytest.raises(InputError, match="does not answer in time"):
        fetched(f"{site.url}/a", TransferLimits(total_s=-1.0))


def test_redirects_are_followed_on_the_same_host():
    with serving({"/a": Page(status=302, headers={"Location": "/b"}), "/b": Page(b"data")}) as site:
        assert fetched(f"{site.url}/a") == b"data"


@pytest.mark.parametrize("target", ["http://localhost/b", "http://0.0.0.0/latest/meta-data", "http://[::1]/"])
def test_a_redirect_to_a_private_host_is_not_followed(target):
    with (
        serving({"/a": Page(status=302, headers={"Location": target})}) as site,
        pytest.raises(InputError, match="a private host; name that URL if you mean it"),
    ):
        fetched(f"{site.url}/a")


@pytest.mark.parametrize(("target", "message"), [("file:///etc/passwd", "not a web page"), ("/a", "more than 5 times")])
def test_a_redirect_that_cannot_be_followed_is_one_line(target, message):
    with (
        serving({"/a": Page(status=302, headers={"Location": target})}) as site,
        pytest.raises(InputError, match=message),
    ):
        fetched(f"{site.url}/a")


def test_parts_are_read_from_a_server_that_supports_ranges():
    data = bytes(range(256)) * 12_000
    with serving({"/a": Page(data, ranges=True)}) as site, http.open_parts(f"{site.url}/a", LIMITS) as file:
        file.seek(2_000_000)
        assert file.read(10) == data[2_000_000:2_000_010]
        file.seek(-5, 2)
        assert file.read() == data[-5:]


def test_a_server_without_ranges_is_an_error():
    with (
        serving({"/a": Page(b"data")}) as site,
        http.open_parts(f"{site.url}/a", LIMITS) as file,
        pytest.raises(InputError, match="cannot be read in parts"),
    ):
        file.read(1)


@pytest.mark.parametrize(
    "url", ["http://", "http://[::1", "http://a\0b/c", "http://127.0.0.1:99999/a", "https://\ud800/"]
)
def test_an_invalid_url_is_one_line(url):
    with pytest.raises(InputError, match="cannot be reached"):
        http.stat(url, LIMITS)


@pytest.mark.parametrize("behavior", SLOW)
@pytest.mark.parametrize("read", [http.stat, fetched])
def test_a_slow_server_is_left_at_the_deadline(behavior, read):
    if read is http.stat and behavior in ("dripped body", "dripped chunks"):
        pytest.skip("the body is not read")
    with slow_server(SLOW[behavior]) as port:
        url = f"{'https' if behavior == 'silence in TLS' else 'http'}://127.0.0.1:{port}/a.png"
        begun = time.monotonic()
        with pytest.raises(InputError, match="does not answer in time"):
            read(url, TransferLimits(response_s=0.5, total_s=0.6))
        assert time.monotonic() - begun < 30


def test_a_part_has_a_deadline():
    def drip(connection):
        connection.sendall(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(60):
            connection.sendall(b"x")
            time.sleep(0.05)

    with slow_server(drip) as port, pytest.raises(InputError, match="does not answer in time"):
        http._RangeReader(f"http://127.0.0.1:{port}/a.png", 1_000, TransferLimits(response_s=0.5)).read(1_000)


def test_redirects_share_one_deadline():
    def redirect(connection):
        time.sleep(0.2)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with slow_server(redirect) as port, pytest.raises(InputError, match="does not answer in time"):
        fetched(f"http://127.0.0.1:{port}/a", TransferLimits(response_s=0.5, max_redirects=50))


def test_a_name_that_is_not_resolved_in_time_is_one_line(monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(ip_guard.socket, "getaddrinfo", lambda *_, **__: release.wait(60) and [])
    begun = time.monotonic()
    with pytest.raises(InputError, match="does not answer in time"):
        http.stat("http://slow.example/a.png", TransferLimits(response_s=0.3))
    assert time.monotonic() - begun < 30
    release.set()
