"""Images from a server on this machine, and from addresses that must not be reached."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from florence_rag.errors import InputError
from florence_rag.tools import AskImage, UrlRules
from florence_rag.tools.safe_fetch import fetch
from tests.sources.io.makers import SLOW, slow_server
from tests.tools.test_ask_image import png

ALLOW_PRIVATE = UrlRules(private=True, timeout_s=3)


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.headers["Host"], self.path))
        name = self.path.partition("?")[0]
        if name == "/image.png":
            self.answer(200, png("purple"))
        elif name == "/large":
            self.answer(200, b"x" * 300_000)
        elif name == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(50):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.1)
        elif name == "/moved":
            self.answer(302, b"", Location="/image.png")
        elif name == "/loop":
            self.answer(302, b"", Location="/loop")
        elif name == "/away":
            self.answer(301, b"", Location=self.path.partition("?")[2])
        else:
            self.answer(404, b"")

    def answer(self, status, body, **headers):
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.requests, server.daemon_threads, server.block_on_close = [], True, False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def test_an_image_is_fetched_and_answered_about(rag, site):
    tool = AskImage(rag, allow_urls=ALLOW_PRIVATE)
    result = tool(f"{site.url}/image.png", "What color is it?")
    assert result.artifact["answer"] == "purple"
    assert result.artifact["citations"][0]["source"] == f"{site.url}/image.png"


def test_without_the_setting_nothing_is_fetched(rag, site):
    assert "URLs are not fetched" in AskImage(rag)(f"{site.url}/image.png", "What color?").text
    assert site.requests == []


def test_by_default_this_machine_is_not_reached(rag, site):
    assert "is not a public host" in AskImage(rag, allow_urls=True)(f"{site.url}/image.png", "What color?").text
    assert site.requests == []


def test_the_prompt_mentions_urls_only_where_they_are_allowed(rag):
    assert "URL" not in AskImage(rag).description
    assert "http" in AskImage(rag, allow_urls=True).description


def test_a_redirect_is_followed_and_a_loop_is_not(site):
    assert fetch(f"{site.url}/moved", ALLOW_PRIVATE) == png("purple")
    with pytest.raises(InputError, match="redirected more than 3 times"):
        fetch(f"{site.url}/loop", ALLOW_PRIVATE)


@pytest.mark.parametrize("target", ["http://10.0.0.7/secret", "file:///etc/passwd", "gopher://127.0.0.1/", "//[::1]/"])
def test_a_redirect_is_checked_like_the_first_url(site, target):
    def resolver(host, port):
        return ["127.0.0.1"] if host == "images.example" else [host]

    rules = UrlRules(hosts=["images.example"], private=True)
    with pytest.raises(InputError, match=r"not fetched from|not a plain http"):
        fetch(f"http://images.example:{site.server_port}/away?{target}", rules, resolver)
    assert len(site.requests) == 1


def test_the_name_is_resolved_once_and_the_checked_address_is_used(site):
    """A second resolution would return another address (DNS rebinding)."""
    answers = iter([["127.0.0.1"]])
    url = f"http://images.example:{site.server_port}/image.png"
    assert fetch(url, ALLOW_PRIVATE, lambda host, port: next(answers)) == png("purple")
    assert site.requests == [(f"images.example:{site.server_port}", "/image.png")]


def test_one_private_address_among_public_ones_is_enough_to_refuse():
    with pytest.raises(InputError, match="is not a public host"):
        fetch("http://mixed.example/a.png", UrlRules(), lambda host, port: ["93.184.216.34", "127.0.0.1"])


def test_an_unknown_host_gives_the_message_of_a_private_one():
    def unknown(host, port):
        raise OSError("no such host")

    messages = []
    for resolver in (unknown, lambda host, port: ["192.168.1.1"]):
        with pytest.raises(InputError) as refused:
            fetch("http://intranet.example/a.png", UrlRules(), resolver)
        messages.append(str(refused.value))
    assert messages[0] == messages[1]


def test_a_body_that_is_too_large_is_not_read_to_its_end(site):
    with pytest.raises(InputError, match=r"larger than 0\.1 MB"):
        fetch(f"{site.url}/large", UrlRules(private=True, max_bytes=100_000))


def test_a_slow_server_times_out(site):
    with pytest.raises(InputError, match=r"longer than 0\.5 s|ReadTimeout"):
        fetch(f"{site.url}/slow", UrlRules(private=True, timeout_s=0.5))


def test_an_error_status_and_a_closed_port_are_errors(site):
    with pytest.raises(InputError, match="status 404"):
        fetch(f"{site.url}/nothing", ALLOW_PRIVATE)
    with pytest.raises(InputError, match="ConnectError"):
        fetch("http://127.0.0.1:1/a.png", ALLOW_PRIVATE)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1\\@example.org/a.png",
        "http://user:password@example.org/a.png",
        "http://example.org/a b.png",
        "http://example.org/a\n.png",
        "http://exa%6dple.org/a.png",
        "http://exаmple.org/a.png",
        "http:///a.png",
        "http://example.org:99999/a.png",
        "http://[::1/a.png",
    ],
)
def test_a_url_that_could_be_read_in_two_ways_is_refused(url):
    with pytest.raises(InputError, match="pass"):
        fetch(url, UrlRules(), lambda host, port: ["93.184.216.34"])


@pytest.mark.parametrize("wrong", [{"hosts": "example.org"}, {"max_bytes": 0}, {"timeout_s": 0}, {"redirects": -1}])
def test_impossible_rules_are_refused(wrong):
    with pytest.raises(InputError):
        UrlRules(**wrong)


def test_a_redirect_to_no_url_is_an_error(site):
    with pytest.raises(InputError, match="is redirected to 'http://a]b/', which is not a URL"):
        fetch(f"{site.url}/away?http://a]b/", ALLOW_PRIVATE)


@pytest.mark.parametrize("behavior", SLOW)
def test_a_slow_server_is_left_at_the_deadline(behavior):
    with slow_server(SLOW[behavior]) as port:
        begun = time.monotonic()
        with pytest.raises(InputError, match=r"took longer than 0\.5 s"):
            url = f"{'https' if behavior == 'silence in TLS' else 'http'}://pub.example:{port}/"
            fetch(url, UrlRules(timeout_s=0.5, private=True), lambda host, port: ["127.0.0.1"])
        assert time.monotonic() - begun < 30
