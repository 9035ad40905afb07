import ipaddress

import pytest

from florence_rag.sources.io.ip_guard import addresses_of, is_public


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
def test_public_addresses(address, public):
    assert is_public(ipaddress.ip_address(address)) is public


def test_addresses_have_no_zone_and_an_unknown_host_has_none():
    def unknown(host, port):
        raise OSError("no such host")

    assert list(map(str, addresses_of("a.example", 80, lambda host, port: ["fe80::1%eth0"]))) == ["fe80::1"]
    assert addresses_of("a.example", 80, unknown) == []
