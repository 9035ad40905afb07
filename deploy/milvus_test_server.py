"""Runs a command, such as pytest, on a real Milvus server, whose address it finds in FLORENCE_TEST_MILVUS.

    python deploy/milvus_test_server.py ENVIRONMENT COMMAND...

If the variable names a server already, the command uses that one. Otherwise the PyPI package milvus, which contains the
Go server, is installed into the virtual environment ENVIRONMENT, and started with an empty database. It is for tests
only: it listens on all interfaces, and a known hole runs code of whoever reaches it. Therefore the server and the
command run in a network namespace of their own, in which there is no network but the loopback interface.
"""

import fcntl
import http.client
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PACKAGE = "milvus==2.3.5"
PORT, _HEALTH_PORT = 19530, 9091
_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 0x1, 0x40
# A read that sees all writes waits for the next tick of the server's clock, which by default comes every 200 ms.
_SETTINGS = {"PROXY_TIMETICKINTERVAL": "50", "QUERYCOORD_CHECKINTERVAL": "100", "QUERYCOORD_DISTPULLINTERVAL": "50"}
_PREPARE = """
import sys
from milvus import _initialize_data_files, default_server
default_server.set_base_dir(sys.argv[1])
default_server.listen_port = int(sys.argv[2])
default_server.config.resolve()
_initialize_data_files(sys.argv[1])
"""
_START_S = 180


class MilvusServer:
    """A server whose data lie in a folder, and which can be killed and started again."""

    def __init__(self, environment: Path, folder: Path) -> None:
        subprocess.check_call([str(environment / "bin" / "python"), "-c", _PREPARE, str(folder), str(PORT)])
        self.folder, self.uri = folder, f"http://127.0.0.1:{PORT}"

    def start(self) -> None:
        """Start the server, and wait until it says that it is healthy."""
        programs = self.folder / "bin"
        settings = {"DEPLOY_MODE": "STANDALONE", "METRICS_PORT": str(_HEALTH_PORT), "LD_LIBRARY_PATH": str(programs)}
        with (self.folder / "logs" / "milvus.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(programs / "milvus"), "run", "standalone"],
                cwd=self.folder,
                env={**_SETTINGS, **os.environ, **settings, "MILVUS_RUN_DIR": str(self.folder / "run")},
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + _START_S
        while not self._is_healthy():
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise SystemExit(f"the Milvus server does not start; its log is {log.name}")
            time.sleep(0.1)

    @staticmethod
    def _is_healthy() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", _HEALTH_PORT, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return b"OK" in connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """End the server without a warning."""
        self.process.kill()
        self.process.wait()


def main(environment: Path, command: list[str]) -> int:
    """Run the command, and return its exit status."""
    if "FLORENCE_TEST_MILVUS" in os.environ:
        return subprocess.call(command)
    if os.environ.get("FLORENCE_TEST_NAMESPACE"):
        return run_with_server(environment, command)
    isolate = isolation()
    if isolate is None:
        return not_run("this machine does not allow a network namespace")
    if not install(environment):
        return not_run(f"{PACKAGE} cannot be installed")
    again = [*isolate, sys.executable, __file__, str(environment), *command]
    return subprocess.call(again, env={**os.environ, "FLORENCE_TEST_NAMESPACE": "1"})


def not_run(reason: str) -> int:
    """Say that nothing was tested, and return the exit status: it is no failure of the tests."""
    print(f"NOT RUN: the tests on a Milvus server, as {reason}; name a server in FLORENCE_TEST_MILVUS")
    return 0


def install(environment: Path) -> bool:
    """Install the server into a virtual environment if it is missing there, and return whether that succeeds."""
    python = str(environment / "bin" / "python")
    if not Path(python).exists() and subprocess.call([sys.executable, "-m", "venv", str(environment)]) != 0:
        return False
    if subprocess.call([python, "-c", "import milvus"], stderr=subprocess.DEVNULL) == 0:
        return True
    return subprocess.call([python, "-m", "pip", "install", "--quiet", PACKAGE]) == 0


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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # otherwise the server would outlive a command like timeout
    with tempfile.TemporaryDirectory(prefix="milvus-test-") as folder:
        server = MilvusServer(environment, Path(folder))
        server.start()
        try:
            return subprocess.call(command, env={**os.environ, "FLORENCE_TEST_MILVUS": server.uri})
        finally:
            server.kill()


def enable_loopback() -> None:
    """Switch the loopback interface on, which is off in a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP | _IFF_RUNNING))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2:]))
