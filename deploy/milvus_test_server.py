"""Runs a command, such as pytest, on a real Milvus server, whose address it finds in FLORENCE_TEST_MILVUS.

    python deploy/milvus_test_server.py ENVIRONMENT COMMAND...

If the variable names a server already, the command uses that one. Otherwise the PyPI package milvus, which contains the
Go server, is installed into the virtual environment ENVIRONMENT, and started with an empty database. It is for tests
only: it listens on all interfaces, and a known hole runs code of whoever reaches it. Therefore the server and the
command run in a network namespace of their own, in which there is no network but the loopback interface.
"""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = "milvus==2.3.5"
PORT = 19530
_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 0x1, 0x40
_SERVER = """
import sys
from milvus import default_server
default_server.set_base_dir(sys.argv[1])
default_server.listen_port = int(sys.argv[2])
default_server.start()
print("started", flush=True)
sys.stdin.read()
default_server.stop()
"""


def main(environment: Path, command: list[str]) -> int:
    """Run the command, and return its exit status."""
    if "FLORENCE_TEST_MILVUS" in os.environ:
        return subprocess.call(command)
    if os.environ.get("FLORENCE_TEST_NAMESPACE"):
        return run_with_server(environment, command)
    isolate = isolation()
    if isolate is None:
        print("skipped: this machine does not allow a network namespace; name a server in FLORENCE_TEST_MILVUS")
        return 0
    if not (environment / "bin" / "python").exists():
        subprocess.check_call([sys.executable, "-m", "venv", str(environment)])
    subprocess.check_call([str(environment / "bin" / "pip"), "install", "--quiet", PACKAGE])
    again = [*isolate, sys.executable, __file__, str(environment), *command]
    return subprocess.call(again, env={**os.environ, "FLORENCE_TEST_NAMESPACE": "1"})


def isolation() -> list[str] | None:
    """Return the command that runs another one in a network namespace of its own, or None if that is not allowed."""
    if shutil.which("unshare") is None:
        return None
    for options in (["--net"], ["--net", "--user", "--map-root-user"]):
        if subprocess.call(["unshare", *options, "true"], stderr=subprocess.DEVNULL) == 0:
            return ["unshare", *options]
    return None


def run_with_server(environment: Path, command: list[str]) -> int:
    """Start a server in this network namespace, run the command, and stop the server."""
    enable_loopback()
    with tempfile.TemporaryDirectory(prefix="milvus-test-") as folder:
        start = [str(environment / "bin" / "python"), "-c", _SERVER, folder, str(PORT)]
        with subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdin and server.stdout
            if "started" not in server.stdout.readline():
                raise SystemExit(f"the Milvus server does not start; its log is in {folder}/logs")
            try:
                return subprocess.call(command, env={**os.environ, "FLORENCE_TEST_MILVUS": f"http://127.0.0.1:{PORT}"})
            finally:
                server.stdin.close()


def enable_loopback() -> None:
    """Switch the loopback interface on, which is off in a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP | _IFF_RUNNING))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2:]))
