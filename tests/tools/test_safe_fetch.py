"""Pictures from the web, from a server on this machine, and from every address that must not be reached."""

import ipaddress
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from florence_rag.errors import InputError
from florence_rag.tools import AskImage, UrlRules
from florence_rag.tools.safe_fetch import fetch, is_public
from tests.tools.test_ask_image import png

HERE = UrlRules(private=True, timeout_s=3)


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.headers["Host"], self.path))
        name = self.path.partition("?")[0]
        if name == "/picture.png":
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
            self.answer(302, b"", Location="/picture.png")
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
    server.asked, server.daemon_threads, server.block_on_close = [], True, False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def test_a_picture_is_fetched_and_looked_at(rag, site):
    tool = AskImage(rag, allow_urls=HERE)
    result = tool(f"{site.url}/picture.png", "What colour is it?")
    assert result.artifact["answer"] == "purple"
    assert result.artifact["citations"][0]["source"] == f"{site.url}/picture.png"


def test_without_the_setting_nothing_is_fetched(rag, site):
    assert "is not fetched" in AskImage(rag)(f"{site.url}/picture.png", "What colour?").text
    assert site.asked == []


def test_by_default_this_machine_is_not_reached(rag, site):
    assert "is not a public host" in AskImage(rag, allow_urls=True)(f"{site.url}/picture.png", "What colour?").text
    assert site.asked == []


def test_the_prompt_mentions_urls_only_where_they_are_allowed(rag):
    assert "URL" not in AskImage(rag).description
    assert "http" in AskImage(rag, allow_urls=True).description


def test_a_redirect_is_followed_and_a_loop_is_not(site):
    assert fetch(f"{site.url}/moved", HERE) == png("purple")
    with pytest.raises(InputError, match="redirected more than 3 times"):
        fetch(f"{site.url}/loop", HERE)


@pytest.mark.parametrize("target", ["http://10.0.0.7/secret", "file:///etc/passwd", "gopher://127.0.0.1/", "//[::1]/"])
def test_a_redirect_is_checked_like_the_first_url(site, target):
    def resolver(host, port):
        return ["127.0.0.1"] if host == "pictures.example" else [host]

    rules = UrlRules(hosts=["pictures.example"], private=True)
    with pytest.raises(InputError, match=r"not fetched from|not a plain http"):
        fetch(f"http://pictures.example:{site.server_port}/away?{target}", rules, resolver)
    assert len(site.asked) == 1


def test_the_name_is_resolved_once_and_the_checked_address_is_used(site):
    """DNS rebinding: a second question would get another answer."""
    answers = iter([["127.0.0.1"]])
    url = f"http://pictures.example:{site.server_port}/picture.png"
    assert fetch(url, HERE, lambda host, port: next(answers)) == png("purple")
    assert site.asked == [(f"pictures.example:{site.server_port}", "/picture.png")]


def test_one_private_address_among_public_ones_is_enough_to_refuse():
    with pytest.raises(InputError, match="is not a public host"):
        fetch("http://mixed.example/a.png", UrlRules(), lambda host, port: ["93.184.216.34", "127.0.0.1"])


def test_a_name_that_nobody_knows_reads_like_a_private_one():
    def unknown(host, port):
        raise OSError("no such host")

    messages = []
    for resolver in (unknown, lambda host, port: ["192.168.1.1"]):
        with pytest.raises(InputError) as refused:
            fetch("http://intranet.example/a.png", UrlRules(), resolver)
        messages.append(str(refused.value))
    assert messages[0] == messages[1]


def test_what_is_too_large_is_not_read_to_its_end(site):
    with pytest.raises(InputError, match=r"larger than 0\.1 MB"):
        fetch(f"{site.url}/large", UrlRules(private=True, max_bytes=100_000))


def test_a_server_that_dribbles_is_left(site):
    start = time.monotonic()
    with pytest.raises(InputError, match=r"longer than 0\.5 s|ReadTimeout"):
        fetch(f"{site.url}/slow", UrlRules(private=True, timeout_s=0.5))
    assert time.monotonic() - start < 3


def test_a_status_that_is_no_picture_and_a_dead_port_say_so(site):
    with pytest.raises(InputError, match="status 404"):
        fetch(f"{site.url}/nothing", HERE)
    with pytest.raises(InputError, match="ConnectError"):
        fetch("http://127.0.0.1:1/a.png", HERE)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1\\@example.org/a.png",
        "http://user:password@example.org/a.png",
        "http://example.org/a b.png",
        "http://example.org/a\n.png",
        "http://exa%6dple.org/a.png",
        "http://exаmple.org/a.png",  # noqa: RUF001
        "http:///a.png",
        "http://example.org:99999/a.png",
        "http://[::1/a.png",
    ],
)
def test_a_url_that_could_be_read_in_two_ways_is_refused(url):
    with pytest.raises(InputError, match="pass"):
        fetch(url, UrlRules(), lambda host, port: ["93.184.216.34"])


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::a00:1", False),
    ],
)
def test_what_counts_as_public(address, public):
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize("wrong", [{"hosts": "example.org"}, {"max_bytes": 0}, {"timeout_s": 0}, {"redirects": -1}])
def test_rules_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(InputError):
        UrlRules(**wrong)
