"""Reads HTTP and HTTPS URLs, and follows their redirects.

`florence-rag index URL` may read any host, also a private one, because a person names it. A redirect to another host
is followed to public addresses only. The proxies of the environment are used.
"""

import atexit
import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import Any, BinaryIO
from urllib.parse import urljoin

import httpx

from florence_rag.errors import InputError
from florence_rag.sources.io.deadline import time_limit
from florence_rag.sources.io.http_client import open_client
from florence_rag.sources.io.ip_guard import addresses_of, is_public
from florence_rag.sources.io.remote_stat import FileStat, TransferLimits, spool, version_from

RequestBuilder = Callable[[str, str | None], httpx.Request]
"""Builds the request for a URL, given the URL that redirects to it or None. Raises InputError to refuse a URL."""

_NO_HEAD = frozenset({400, 403, 404, 405, 501})
"""Status codes of servers that do not support HEAD, or that sign their URLs for GET only."""
_BLOCK_BYTES = 1 << 20
_LIMITS = TransferLimits()


@contextmanager
def open_response(
    client: httpx.Client, url: str, build_request: RequestBuilder, max_redirects: int
) -> Iterator[httpx.Response]:
    """Follow the redirects of a URL and open the last response, of any status, whose body is not read yet.

    `build_request` checks every URL, the first one and the targets of redirects.
    """
    previous: str | None = None
    for _ in range(max_redirects + 1):
        response = client.send(build_request(url, previous), stream=True)
        try:
            if not response.has_redirect_location:
                yield response
                return
            url, previous = _join(url, response.headers["location"]), url
        finally:
            response.close()
    raise InputError(f"{url!r:.80} is redirected more than {max_redirects} times; give the URL of the file itself")


def _join(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise InputError(f"{url!r:.80} is redirected to {location!r:.80}, which is not a URL; use another") from error


def stat(url: str, limits: TransferLimits = _LIMITS) -> FileStat:
    """Return what the server declares of a URL, without fetching it."""
    with _open("HEAD", url, limits, accept=_NO_HEAD) as response:
        if response.status_code not in _NO_HEAD:
            return _response_stat(response)
    with _open("GET", url, limits) as response:
        return _response_stat(response)


def fetch(url: str, limits: TransferLimits = _LIMITS) -> BinaryIO:
    """Return all bytes of a URL as a seekable file."""
    deadline = time.monotonic() + limits.total_s
    with time_limit(limits.total_s), _open("GET", url, limits) as response:
        return spool(response.iter_bytes(_BLOCK_BYTES), url, limits, deadline)


def open_parts(url: str, limits: TransferLimits = _LIMITS) -> BinaryIO:
    """Open a URL as a seekable file that fetches blocks of 1 MiB when they are read."""
    size_bytes = stat(url, limits).size_bytes
    if not size_bytes:
        raise InputError(f"{url!r} does not declare its size, so no part of it can be read; download it first")
    return io.BufferedReader(_RangeReader(url, size_bytes, limits), _BLOCK_BYTES)


class _RangeReader(io.RawIOBase):
    def __init__(self, url: str, size_bytes: int, limits: TransferLimits) -> None:
        self._url, self._size, self._limits = url, size_bytes, limits
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
        with time_limit(self._limits.response_s), _open("GET", self._url, self._limits, headers) as response:
            if response.status_code != 206:
                raise InputError(f"{self._url!r} cannot be read in parts from its server; download it first")
            data = response.read()[: end - self._position]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _response_stat(response: httpx.Response) -> FileStat:
    headers = response.headers
    size = headers.get("content-length", "")
    version = version_from(headers.get("etag") or headers.get("last-modified"))
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return FileStat(int(size) if size.isdigit() else 0, version, media_type)


@contextmanager
def _open(
    method: str,
    url: str,
    limits: TransferLimits,
    headers: Mapping[str, str] | None = None,
    accept: frozenset[int] = frozenset(),
) -> Iterator[httpx.Response]:
    """Open the response to a URL; raise InputError for a status that is neither a success nor in accept."""
    build_request = partial(_build_request, method, limits.idle_s, headers)
    try:
        with ExitStack() as opened:
            with time_limit(limits.response_s):
                response = opened.enter_context(open_response(_client(), url, build_request, limits.max_redirects))
            if not response.is_success and response.status_code not in accept:
                status = f"{response.status_code} {response.reason_phrase}".strip()
                raise InputError(f"{url!r} cannot be fetched: the server answers {status}")
            yield response
    except httpx.TimeoutException as error:
        raise InputError(f"{url!r} does not answer in time") from error
    except httpx.RemoteProtocolError as error:
        raise InputError(f"{url!r} broke off before it was complete; index it again") from error
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise InputError(f"{url!r} cannot be reached ({type(error).__name__})") from error


def _build_request(
    method: str, timeout_s: float, headers: Mapping[str, str] | None, url: str, previous: str | None
) -> httpx.Request:
    """Build a request to the host of the previous URL, or to a public host."""
    target = httpx.URL(url)
    if previous is not None and target.scheme not in ("http", "https"):
        raise InputError(f"{previous!r} is redirected to {url!r:.80}, which is not a web page")
    if previous is not None and target.host != httpx.URL(previous).host:
        addresses = addresses_of(target.host, target.port or 443)
        if not addresses:
            raise InputError(f"{previous!r} is redirected to {target.host!r}, which cannot be found")
        if not all(map(is_public, addresses)):
            host = target.host
            raise InputError(f"{previous!r} is redirected to {host!r}, a private host; name that URL if you mean it")
    return _client().build_request(method, target, headers=headers, timeout=timeout_s)


@cache
def _client() -> httpx.Client:
    """Return the client that all threads of the process share, which keeps connections open."""
    client = open_client(headers={"User-Agent": "florence-rag"})
    atexit.register(client.close)
    return client
