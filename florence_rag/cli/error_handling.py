"""How a command ends: with a result, or with one line on standard error and an exit code.

0    done; files that could not be indexed are named in the report
1    nothing could be done, and the line says why
2    the arguments are wrong
130  interrupted (143 by SIGTERM)
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from florence_rag.cli.output import notes, plain
from florence_rag.errors import FlorenceError


class Commands(TyperGroup):
    """The group of all commands: the one place where what they raise becomes a line and a code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            rest = " What was indexed is kept: run the same command again to complete it."
            end("Interrupted." + rest * (ctx.invoked_subcommand == "index"), 128 + (stop.args or (signal.SIGINT,))[0])
        except BrokenPipeError:
            raise
        except (FlorenceError, OSError) as error:
            end(f"Error: {error}", 1)


def end(message: str, code: int) -> NoReturn:
    """Say why, in one line on standard error, and exit."""
    line = plain(" ".join(message.split()))
    line.highlight_regex(r"^\w+[:.]", "bold red")
    notes().print(line)
    raise typer.Exit(code)


def treat_termination_as_interrupt() -> None:
    """SIGTERM closes the database as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(number)
