"""Reads from HTTP and HTTPS what a person has named: any host, also a private one, as long as it is the one named.

A redirect to another host is followed to public addresses only. The proxies of the environment are used.
"""

from __future__ import annotations

import atexit
import io
import ipaddress
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, BinaryIO

import httpx

from florence_rag.errors import InputError
from florence_rag.sources.io.ip_guard import is_public
from florence_rag.sources.io.remote_stat import Limits, Seen, spooled, version_from

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NO_HEAD = frozenset({400, 403, 404, 405, 501})
"""What servers answer that know no HEAD, or sign their URLs for GET alone."""
_BLOCK = 1 << 20


def look(url: str, limits: Limits) -> Seen:
    """What the server says of it, without fetching it."""
    with _answer("HEAD", url, limits, tolerate=_NO_HEAD) as answer:
        if answer.status_code not in _NO_HEAD:
            return _seen(answer)
    with _answer("GET", url, limits) as answer:
        return _seen(answer)


def fetch(url: str, limits: Limits) -> BinaryIO:
    """All of it."""
    deadline = time.monotonic() + limits.total_s
    with _answer("GET", url, limits) as answer, _explained(url):
        return spooled(answer.iter_bytes(_BLOCK), url, limits, deadline)


def open_ranges(url: str, limits: Limits) -> BinaryIO:
    """A file of which only what is read is fetched, in blocks of 1 MiB."""
    size = look(url, limits).size_bytes
    if not size:
        raise InputError(f"{url!r} does not tell its size, so no part of it can be read; download it first")
    return io.BufferedReader(_Ranges(url, size, limits), _BLOCK)


class _Ranges(io.RawIOBase):
    def __init__(self, url: str, size: int, limits: Limits) -> None:
        self._url, self._size, self._limits = url, size, limits
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def readinto(self, buffer: Any) -> int:
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        headers = {"Range": f"bytes={self._position}-{end - 1}"}
        with _answer("GET", self._url, self._limits, headers) as answer, _explained(self._url):
            if answer.status_code != 206:
                raise InputError(f"{self._url!r} cannot be read in parts from its server; download it first")
            data = answer.read()[: end - self._position]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _seen(answer: httpx.Response) -> Seen:
    headers = answer.headers
    size = headers.get("content-length", "")
    version = version_from(headers.get("etag") or headers.get("last-modified"))
    medium = headers.get("content-type", "").partition(";")[0].strip().lower()
    return Seen(int(size) if size.isdigit() else 0, version, medium)


@contextmanager
def _answer(
    method: str, url: str, limits: Limits, headers: dict[str, str] | None = None, tolerate: frozenset[int] = frozenset()
) -> Iterator[httpx.Response]:
    """The answer with its body still to come, of the last of the redirects."""
    with _explained(url):
        where = httpx.URL(url)
    for _ in range(limits.redirects + 1):
        with _explained(url):
            request = _client().build_request(method, where, headers=headers, timeout=limits.idle_s)
            answer = _client().send(request, stream=True)
        try:
            if answer.status_code in _REDIRECTS and "location" in answer.headers:
                with _explained(url):
                    where = _checked(url, where, where.join(answer.headers["location"]))
                continue
            if not answer.is_success and answer.status_code not in tolerate:
                raise InputError(f"{url!r} cannot be fetched: the server answers {_status(answer)}")
            yield answer
            return
        finally:
            answer.close()
    raise InputError(f"{url!r} is redirected more than {limits.redirects} times")


def _status(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.reason_phrase}".strip()


def _checked(url: str, before: httpx.URL, after: httpx.URL) -> httpx.URL:
    """Where a redirect leads, if that is the same host or a public one."""
    if after.scheme not in ("http", "https"):
        raise InputError(f"{url!r} is redirected to {str(after)!r:.80}, which is no web page")
    if after.host != before.host:
        try:
            found = socket.getaddrinfo(after.host, after.port or 443, type=socket.SOCK_STREAM)
        except OSError as error:
            raise InputError(f"{url!r} is redirected to {after.host!r}, which cannot be found") from error
        if not all(is_public(ipaddress.ip_address(str(each[4][0]).partition("%")[0])) for each in found):
            raise InputError(f"{url!r} is redirected to {after.host!r}, a private host; name that URL if you mean it")
    return after


@contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise InputError(f"{url!r} does not answer in time") from error
    except httpx.RemoteProtocolError as error:
        raise InputError(f"{url!r} broke off before all of it had come; index it again") from error
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise InputError(f"{url!r} cannot be reached ({type(error).__name__})") from error


@cache
def _client() -> httpx.Client:
    """One for all threads of the process, which keeps connections."""
    client = httpx.Client(headers={"User-Agent": "florence-rag"})
    atexit.register(client.close)
    return client
