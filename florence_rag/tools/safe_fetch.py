"""Fetches a picture from a URL that an agent names, so that no network behind this machine can be reached through it.

The host is resolved once, all its addresses are checked, and the connection goes to one of those that were checked:
what the name means a moment later is not asked (DNS rebinding). Every redirect is checked anew. Proxies of the
environment are not used, for they would resolve the name again.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import httpx

from florence_rag.errors import InputError
from florence_rag.sources.io.ip_guard import Address, is_public

Resolve = Callable[[str, int], list[str]]
"""Host and port to addresses, as numbers. Raises OSError."""

_PORTS = {"http": 80, "https": 443}
_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-:")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class UrlRules:
    """hosts: only these, or any for None. private: whether addresses that are not public may be reached.

    max_bytes: of the answer; timeout_s: for all of it, redirects included.
    """

    hosts: Collection[str] | None = None
    private: bool = False
    max_bytes: int = 20_000_000
    timeout_s: float = 10.0
    redirects: int = 3

    def __post_init__(self) -> None:
        if isinstance(self.hosts, str):
            raise InputError(f"hosts must be several names, got {self.hosts!r}; write [{self.hosts!r}]")
        if self.max_bytes < 1 or self.timeout_s <= 0 or self.redirects < 0:
            raise InputError("max_bytes and timeout_s must be above 0, redirects must not be below 0")


def resolve(host: str, port: int) -> list[str]:
    """The addresses that this machine knows for a host."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def fetch(url: str, rules: UrlRules, resolver: Resolve = resolve) -> bytes:
    """The bytes behind an http or https URL; InputError where it may not be fetched or cannot."""
    deadline = time.monotonic() + rules.timeout_s
    for _ in range(rules.redirects + 1):
        parts = _checked(url, rules)
        found = _get(parts, _address_of(parts, rules, resolver), rules, deadline)
        if isinstance(found, bytes):
            return found
        url = urljoin(parts.geturl(), found)
    raise InputError(f"the URL was redirected more than {rules.redirects} times; pass the URL of the picture itself")


def _checked(url: str, rules: UrlRules) -> SplitResult:
    """The parts, of a URL that no two readers could understand differently."""
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise InputError(f"{url!r:.80} is no URL that can be fetched; pass the id of a search result") from None
    odd = any(not "!" <= character <= "~" for character in url) or "\\" in url
    if parts.scheme not in _PORTS or odd or "@" in parts.netloc or not host or set(host) - _HOST:
        raise InputError(f"{url!r:.80} is not a plain http or https URL; pass one, or the id of a search result")
    if rules.hosts is not None and host not in {name.lower() for name in rules.hosts}:
        raise InputError(f"pictures are not fetched from {host!r:.80}; allowed are {', '.join(sorted(rules.hosts))}")
    return parts


def _address_of(parts: SplitResult, rules: UrlRules, resolver: Resolve) -> Address:
    """The first address of the host, where all of them may be reached."""
    host = str(parts.hostname)
    try:
        addresses = [ipaddress.ip_address(found.partition("%")[0]) for found in resolver(host, _port(parts))]
    except (OSError, UnicodeError, ValueError):
        addresses = []
    if not addresses or not (rules.private or all(map(is_public, addresses))):
        # One message, so that nobody can ask which names a private network knows.
        raise InputError(f"{host!r:.80} is not a public host that can be found; pass another URL, or an id")
    return addresses[0]


def _get(parts: SplitResult, address: Address, rules: UrlRules, deadline: float) -> bytes | str:
    """The picture, or where the server says that it lies."""
    headers = {"Host": parts.netloc, "Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "florence-rag"}
    where = f"[{address}]" if address.version == 6 else str(address)
    pinned = parts._replace(netloc=f"{where}:{_port(parts)}", fragment="").geturl()
    left = max(0.01, deadline - time.monotonic())
    try:
        with (
            httpx.Client(timeout=left, follow_redirects=False, trust_env=False) as client,
            client.stream("GET", pinned, headers=headers, extensions={"sni_hostname": parts.hostname}) as answer,
        ):
            if answer.status_code in _REDIRECTS and "location" in answer.headers:
                return answer.headers["location"]
            if answer.status_code != 200:
                raise InputError(f"the URL answers with status {answer.status_code}; pass another, or an id")
            return _body(answer, rules, deadline)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InputError(f"the URL cannot be fetched ({type(error).__name__}); pass another, or an id") from None


def _body(answer: httpx.Response, rules: UrlRules, deadline: float) -> bytes:
    """As sent: a compressed answer, which could be a bomb, is not unpacked."""
    body = bytearray()
    for part in answer.iter_raw():
        body += part
        if len(body) > rules.max_bytes:
            raise InputError(f"the picture is larger than {rules.max_bytes / 1e6:g} MB; pass a smaller one")
        if time.monotonic() > deadline:
            raise InputError(f"the URL took longer than {rules.timeout_s:g} s; pass another, or an id")
    return bytes(body)


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS[parts.scheme]
