"""Fetches an image from a URL that an agent names, without letting the agent reach a private network.

The host is resolved once, all its addresses are checked, and the connection goes to one of them: a second resolution
could return another address (DNS rebinding). Every redirect is checked in the same way. The proxies of the environment
are not used, because they would resolve the host again.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import httpx

from florence_rag.errors import InputError
from florence_rag.sources.io.deadline import time_limit
from florence_rag.sources.io.http import open_response
from florence_rag.sources.io.http_client import open_client
from florence_rag.sources.io.ip_guard import Address, Resolver, addresses_of, is_public, resolve
from florence_rag.sources.io.remote_stat import limited
from florence_rag.validation import validate_arguments

_PORTS = {"http": 80, "https": 443}
_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-:")


@validate_arguments
@dataclass(frozen=True, slots=True)
class UrlRules:
    """The URLs that an agent may name.

    Args:
        hosts: The hosts that may be reached; None for any host.
        private: Whether private addresses may be reached.
        max_bytes: The most bytes of an image.
        timeout_s: The most seconds for an image, redirects included.
        redirects: The most redirects in a row.

    Raises:
        InputError: If a value is out of its range.
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


def fetch(url: str, rules: UrlRules, resolver: Resolver = resolve) -> bytes:
    """Return the bytes behind an http or https URL; raise InputError if the rules forbid it or it fails."""
    deadline = time.monotonic() + rules.timeout_s

    def build_request(url: str, previous: str | None) -> httpx.Request:
        parts = _check_url(url, rules)
        return _pinned_request(client, parts, _check_address(parts, rules, resolver))

    too_large = f"the image is larger than {rules.max_bytes / 1e6:g} MB; pass a smaller one"
    too_slow = f"the URL took longer than {rules.timeout_s:g} s; pass another URL, or an id"
    try:
        with (
            time_limit(rules.timeout_s),
            open_client(trust_env=False, timeout=rules.timeout_s) as client,
            open_response(client, url, build_request, rules.redirects) as response,
        ):
            if response.status_code != 200:
                raise InputError(f"the URL answers with status {response.status_code}; pass another URL, or an id")
            blocks = limited(response.iter_raw(), rules.max_bytes, deadline, too_large=too_large, too_slow=too_slow)
            return b"".join(blocks)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        if time.monotonic() >= deadline:
            raise InputError(too_slow) from None
        raise InputError(f"the URL cannot be fetched ({type(error).__name__}); pass another URL, or an id") from None


def _check_url(url: str, rules: UrlRules) -> SplitResult:
    """Return the parts of a URL that no two parsers could understand differently."""
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise InputError(f"{url!r:.80} is not a URL that can be fetched; pass the id of a search result") from None
    ambiguous = any(not "!" <= character <= "~" for character in url) or "\\" in url
    if parts.scheme not in _PORTS or ambiguous or "@" in parts.netloc or not host or set(host) - _HOST:
        raise InputError(f"{url!r:.80} is not a plain http or https URL; pass one, or the id of a search result")
    if rules.hosts is not None and host not in {name.lower() for name in rules.hosts}:
        raise InputError(f"images are not fetched from {host!r:.80}; allowed are {', '.join(sorted(rules.hosts))}")
    return parts


def _check_address(parts: SplitResult, rules: UrlRules, resolver: Resolver) -> Address:
    """Return the first address of a host whose addresses may all be reached."""
    host = str(parts.hostname)
    addresses = addresses_of(host, _port(parts), resolver)
    if not addresses or not (rules.private or all(map(is_public, addresses))):
        # One message for both, so that nobody can find out which hosts a private network has.
        raise InputError(f"{host!r:.80} is not a public host that can be found; pass another URL, or an id")
    return addresses[0]


def _pinned_request(client: httpx.Client, parts: SplitResult, address: Address) -> httpx.Request:
    """Build the request to one address of the host. A compressed body, which could be a bomb, is not accepted."""
    headers = {"Host": parts.netloc, "Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "florence-rag"}
    host = f"[{address}]" if address.version == 6 else str(address)
    pinned = parts._replace(netloc=f"{host}:{_port(parts)}", fragment="").geturl()
    extensions = {"sni_hostname": parts.hostname}
    return client.build_request("GET", pinned, headers=headers, extensions=extensions)


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS[parts.scheme]
