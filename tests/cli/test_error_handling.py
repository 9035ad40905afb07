import os
import signal
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from florence_rag.cli.error_handling import ErrorHandlingGroup
from florence_rag.errors import StoreLockedError


def ended_by(error: BaseException):
    app = typer.Typer(cls=ErrorHandlingGroup, pretty_exceptions_enable=False)

    @app.command()
    def index() -> None:
        raise error

    @app.command()
    def other() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (StoreLockedError("photos.db is\nin use"), 1, "Error: photos.db is in use"),
        (OSError(28, "No space left on device"), 1, "Error: [Errno 28] No space left on device"),
        (KeyboardInterrupt(), 130, "Interrupted. Indexed files are kept: run the same command again to complete it."),
        (KeyboardInterrupt(signal.SIGTERM), 143, "Interrupted. Indexed files are kept: run"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_one_line_and_a_code(error, code, line):
    outcome = CliRunner().invoke(ended_by(error), ["index"])
    assert outcome.exit_code == code
    assert outcome.stderr.startswith(line)
    assert outcome.stderr.count("\n") == 1
    assert outcome.stdout == ""


def test_only_an_index_run_can_be_completed():
    assert CliRunner().invoke(ended_by(KeyboardInterrupt()), ["other"]).stderr == "Interrupted.\n"


def test_an_internal_error_keeps_its_traceback():
    assert isinstance(CliRunner().invoke(ended_by(KeyError("x")), ["index"]).exception, KeyError)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_open_resources(sent):
    script = (
        "import signal, sys, time\n"
        "from florence_rag.cli import app as commands\n"
        "@commands.app.command()\n"
        "def wait():\n"
        "    try:\n"
        "        print('waiting', flush=True); time.sleep(60)\n"
        "    finally:\n"
        "        print('closed')\n"
        "sys.argv = ['florence-rag', 'wait']\n"
        "commands.main()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"waiting\n"
        os.kill(process.pid, sent)
        out, err = process.communicate(timeout=30)
    assert (out, err) == (b"closed\n", b"Interrupted.\n")
    assert process.returncode == 128 + sent
