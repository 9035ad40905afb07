"""Distinguishes public addresses of the internet from private ones."""

import ipaddress
import socket
from collections.abc import Callable

from florence_rag.sources.io.deadline import call_in_time

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], list[str]]
"""Maps a host and a port to its numeric addresses. Raises OSError for an unknown host."""

_RESOLVE_S = 30.0
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def resolve(host: str, port: int) -> list[str]:
    """Return the numeric addresses that this machine knows for a host; raise OSError for none, or at the deadline.

    The system cannot be interrupted while it asks for a name, so a thread asks, which is left behind at the deadline.
    """
    try:
        found = call_in_time(_RESOLVE_S, socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise TimeoutError(f"the name {host!r:.80} was not found in time") from None
    return [str(entry[4][0]) for entry in found]


def addresses_of(host: str, port: int, resolver: Resolver = resolve) -> list[Address]:
    """Return the addresses of a host; none if it is unknown."""
    try:
        return [ipaddress.ip_address(address.partition("%")[0]) for address in resolver(host, port)]
    except (OSError, UnicodeError, ValueError):
        return []


def is_public(address: Address) -> bool:
    """Return whether an address is public. An IPv6 address that carries an IPv4 address is as public as that one."""
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if carried is not None:
            return is_public(carried)
    return address.is_global and not address.is_multicast and not address.is_reserved
