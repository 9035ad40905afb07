import socket

import pytest

from florence_rag.errors import InputError
from florence_rag.sources.io import http as web
from florence_rag.sources.io.remote_stat import Limits
from tests.sources.io.makers import Page, serving

LIMITS = Limits(max_bytes=100_000, idle_s=2.0, total_s=5.0)


def fetched(url, limits=LIMITS):
    with web.fetch(url, limits) as file:
        return file.read()


def test_what_a_server_says_is_seen_without_fetching_it():
    page = Page(b"x" * 9, {"ETag": '"1"', "Content-Type": "image/png; charset=x"})
    with serving({"/a": page}) as site:
        seen = web.look(f"{site.url}/a", LIMITS)
        assert (seen.size_bytes, seen.medium) == (9, "image/png") and seen.version
        assert site.asked == [("HEAD", "/a")]
        page.headers["ETag"] = '"2"'
        assert web.look(f"{site.url}/a", LIMITS).version != seen.version
        page.headers = {}
        assert web.look(f"{site.url}/a", LIMITS).version == 0


def test_a_server_that_knows_no_head_is_asked_otherwise():
    with serving({"/a": Page(b"x" * 9, {"ETag": "1"}, knows_head=False)}) as site:
        assert web.look(f"{site.url}/a", LIMITS).size_bytes == 9


def test_the_bytes_are_fetched():
    with serving({"/a b.png": Page(status=404), "/a%20b.png": Page(b"data")}) as site:
        assert fetched(f"{site.url}/a b.png") == b"data"


@pytest.mark.parametrize(("status", "words"), [(404, "404 Not Found"), (403, "403 Forbidden"), (500, "500")])
def test_a_refusal_is_one_line(status, words):
    with serving({"/a": Page(status=status)}) as site:
        for ask in (web.look, web.fetch):
            with pytest.raises(InputError, match=f"cannot be fetched: the server answers {words}"):
                ask(f"{site.url}/a", LIMITS)


def test_nobody_there_is_one_line():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.jpg"
        with pytest.raises(InputError, match=r"a.jpg' cannot be reached"):
            web.look(url, LIMITS)


def test_a_server_that_says_nothing_is_left():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.jpg"
        with pytest.raises(InputError, match="does not answer in time"):
            web.look(url, Limits(idle_s=0.2))


def test_a_download_that_breaks_off_is_no_picture():
    with serving({"/a": Page(b"x" * 50, says=100)}) as site, pytest.raises(InputError, match="broke off"):
        fetched(f"{site.url}/a")


def test_what_is_too_large_is_not_fetched():
    with serving({"/a": Page(b"x" * 200_000)}) as site, pytest.raises(InputError, match="more than 100,000 bytes"):
        fetched(f"{site.url}/a")


def test_what_takes_too_long_is_left():
    with serving({"/a": Page(b"x")}) as site, pytest.raises(InputError, match="took longer"):
        fetched(f"{site.url}/a", Limits(total_s=-1.0))


def test_redirects_are_followed_on_the_same_host():
    with serving({"/a": Page(status=302, headers={"Location": "/b"}), "/b": Page(b"data")}) as site:
        assert fetched(f"{site.url}/a") == b"data"


@pytest.mark.parametrize("target", ["http://localhost/b", "http://0.0.0.0/latest/meta-data", "http://[::1]/"])
def test_a_redirect_to_a_private_host_that_nobody_named_is_not_followed(target):
    with (
        serving({"/a": Page(status=302, headers={"Location": target})}) as site,
        pytest.raises(InputError, match="a private host; name that URL if you mean it"),
    ):
        fetched(f"{site.url}/a")


@pytest.mark.parametrize(("target", "words"), [("file:///etc/passwd", "no web page"), ("/a", "more than 5 times")])
def test_a_redirect_to_nowhere_is_one_line(target, words):
    with (
        serving({"/a": Page(status=302, headers={"Location": target})}) as site,
        pytest.raises(InputError, match=words),
    ):
        fetched(f"{site.url}/a")


def test_parts_are_read_of_a_server_that_gives_parts():
    data = bytes(range(256)) * 12_000
    with serving({"/a": Page(data, ranges=True)}) as site, web.open_ranges(f"{site.url}/a", LIMITS) as file:
        file.seek(2_000_000)
        assert file.read(10) == data[2_000_000:2_000_010]
        file.seek(-5, 2)
        assert file.read() == data[-5:]


def test_a_server_that_gives_no_parts_says_so():
    with (
        serving({"/a": Page(b"data")}) as site,
        web.open_ranges(f"{site.url}/a", LIMITS) as file,
        pytest.raises(InputError, match="cannot be read in parts"),
    ):
        file.read(1)


@pytest.mark.parametrize(
    "url", ["http://", "http://[::1", "http://a\0b/c", "http://127.0.0.1:99999/a", "https://\ud800/"]
)
def test_what_is_no_url_is_one_line(url):
    with pytest.raises(InputError, match="cannot be reached"):
        web.look(url, LIMITS)
