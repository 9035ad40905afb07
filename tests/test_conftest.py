import signal
import socket
import urllib.request

import pytest


def test_a_connection_to_another_machine_is_refused():
    with socket.socket() as client, pytest.raises(RuntimeError, match="may not connect"):
        client.connect(("192.0.2.1", 80))


def test_a_name_is_not_looked_up():
    with pytest.raises(RuntimeError, match="may not look up"):
        urllib.request.urlopen("http://example.org")


def test_this_machine_can_be_reached():
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())


def test_interrupts_are_not_ignored():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
