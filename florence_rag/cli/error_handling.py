"""Turns exceptions into one line on standard error and an exit code.

Exit codes:
    0: Success. Files that could not be indexed are named in the report.
    1: Nothing could be done, or a part of it such as the contact sheet; the line says why.
    2: The arguments are wrong.
    130: Interrupted; 143 by SIGTERM.
"""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from florence_rag.cli.output import plain, stderr
from florence_rag.errors import FlorenceError
from florence_rag.redaction import redact

INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


class ErrorHandlingGroup(TyperGroup):
    """The group of all commands, and the one place that turns their exceptions into exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            advice = " Indexed files are kept: run the same command again to complete it."
            number = (stop.args or (signal.SIGINT,))[0]
            exit_with("Interrupted." + advice * (ctx.invoked_subcommand == "index"), 128 + number)
        except BrokenPipeError:
            raise
        except (FlorenceError, OSError) as error:
            exit_with(f"Error: {error}", 1)


def exit_with(message: str, code: int) -> NoReturn:
    """Print the message as one line on standard error, and exit."""
    line = plain(redact(" ".join(message.split())))
    line.highlight_regex(r"^\w+[:.]", "bold red")
    stderr().print(line)
    raise typer.Exit(code)


def end_at_once(code: int) -> NoReturn:
    """End an interrupted command, whose database is closed, without waiting for the models that run in threads."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def treat_termination_as_interrupt() -> None:
    """Make SIGTERM close the database as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(number)
