"""The entry point of `florence-rag`, and the list of its commands.

A command opens a database, calls one method of FlorenceRAG, and prints the result. torch and pymilvus are imported
inside the commands, so that `--help` and wrong arguments are answered at once.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from florence_rag.cli.ask import ask
from florence_rag.cli.classify import classify
from florence_rag.cli.describe import describe
from florence_rag.cli.detect import detect
from florence_rag.cli.error_handling import CommandGroup, treat_termination_as_interrupt
from florence_rag.cli.estimate import estimate
from florence_rag.cli.evaluate import evaluate
from florence_rag.cli.import_export import export, import_
from florence_rag.cli.index import failures, index, watch
from florence_rag.cli.info import info
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.cli.models import convert, models
from florence_rag.cli.options import AsJson, absolute_path
from florence_rag.cli.output import print_result, stderr, stdout
from florence_rag.cli.reembed import reembed
from florence_rag.cli.search import moments, recommend, search
from florence_rag.cli.tag import tag
from florence_rag.cli.train import train

app = typer.Typer(
    cls=CommandGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Index images, videos, audio, text and PDF files; search them by text and images; ask questions. Offline.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        stdout().print(f"florence-rag {version('florence-rag')}")
        raise typer.Exit


@app.callback()
def root(
    print_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before a command."""


def demo(
    folder: Annotated[
        Path, typer.Argument(parser=absolute_path, metavar="[FOLDER]", help="Where to write the files and the index.")
    ] = Path("florence-demo"),
    as_json: AsJson = False,
) -> None:
    """Index, search and ask a small synthetic town, and print what to try next."""
    from florence_rag.cli.demo import run_demo

    print_result(run_demo(folder.absolute(), stderr() if as_json else stdout()), "", as_json)


COMMANDS: tuple[Callable[..., None], ...] = (
    *(index, watch, failures, search, moments, ask, recommend),
    *(describe, detect, tag, info, models, convert, reembed, export, import_, estimate, demo),
)
for command in COMMANDS:
    app.command(command.__name__.rstrip("_"))(command)
app.add_typer(classify, name="classify")
app.add_typer(evaluate, name="eval")
app.add_typer(train, name="train")


def main() -> None:
    """Run `florence-rag`."""
    treat_termination_as_interrupt()
    quiet_libraries()
    app(prog_name="florence-rag")
