"""Distinguishes public addresses of the internet from private ones."""

import ipaddress
import socket
from collections.abc import Callable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], list[str]]
"""Maps a host and a port to its numeric addresses. Raises OSError for an unknown host."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def resolve(host: str, port: int) -> list[str]:
    """Return the numeric addresses that this machine knows for a host."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


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
