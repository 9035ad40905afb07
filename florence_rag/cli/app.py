"""The entry point of `florence-rag`, and the list of its commands.

A command opens a database, calls one method of FlorenceRAG, and prints the result. The module of a command is imported
when the command is called, so that `florence-rag --help` imports nothing but the list. torch and pymilvus are imported
inside the commands, so that `--help` of a command and wrong arguments are answered at once.
"""

from __future__ import annotations

import atexit
import gc
import inspect
import sys
from functools import cache
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from florence_rag.cli.error_handling import INTERRUPTED, ErrorHandlingGroup, end_at_once, treat_termination_as_interrupt
from florence_rag.cli.logging_setup import quiet_libraries

if TYPE_CHECKING:
    from florence_rag.cli.command import Command

COMMANDS = {
    "index": ("index:Index", "Index images, videos, text and PDF files."),
    "watch": ("index:Watch", "Keep an index current with folders until Ctrl-C."),
    "failures": ("index:Failures", "List the files that could not be indexed, with the reasons."),
    "search": ("search:Search", "Find images, clips, pages and passages by a text, by an image, or by both together."),
    "moments": ("search:Moments", "Find when something happens in videos."),
    "ask": ("search:Ask", "Answer a question, with a confidence and citations."),
    "chat": ("chat:Chat", "Talk with an index: each message may refer to earlier results."),
    "clear-answers": ("database:ClearAnswers", "Delete the cached answers of a database."),
    "recommend": ("search:Recommend", "Recommend varied new hits by examples of what you like and dislike."),
    "serve": ("serve:Serve", "Serve a database as a web page, a REST API and MCP."),
    "mcp": ("mcp:MCP", "Offer a database to a desktop assistant, by the Model Context Protocol."),
    "describe": ("images:Describe", "Caption images."),
    "detect": ("images:Detect", "Find the objects in images, with their boxes."),
    "tag": ("tag:Tag", "Tag images by labels and by the tags of their neighbors, or by hand."),
    "list": ("contents:List", "List the files and items of a database, with their chunks and their state."),
    "delete": ("contents:Delete", "Delete files and items from a database."),
    "info": ("database:Info", "Print what a database contains, what failed, and which model filled it."),
    "check": (
        "maintenance:Check",
        "Find damage in a database; the exit code is 1 if there is any.",
    ),
    "doctor": ("doctor:Doctor", "Measure what makes a database slow or its results wrong, and say what to do."),
    "repair": ("maintenance:Repair", "Repair a database; the exit code is 1 if something is lost."),
    "models": ("models:Models", "List the models that can be named, with roles, sizes and licenses."),
    "convert": (
        "models:Convert",
        "Convert a checkpoint into the folder of a model.",
    ),
    "reembed": ("reembed:Reembed", "Move a database to another embedder while it is searched."),
    "export": ("database:Export", "Write a database as Parquet files."),
    "import": ("database:Import", "Create a database from an export."),
    "estimate": ("estimate:Estimate", "Estimate the GPU hours, memory, disk and cost of an index."),
    "demo": ("demo:Demo", "Index, search and ask a small synthetic corpus, and print what to try next."),
    "classify": ("classify:CLASSIFY", "Classify images, by labels alone or by a classifier that you train."),
    "eval": ("evaluate:EVAL", "Measure models on data sets in standard formats."),
    "evalset": ("evalset:EVALSET", "Measure the search of your own database, and compare two configurations of it."),
    "train": ("train:TRAIN", "Train models on your own data."),
}
"""The class of each command, or a group of commands, and the beginning of its help, for the list of commands."""


@cache
def load_command(name: str) -> Any:
    """Import a command or a group of commands, and return it for Click."""
    module, attribute = COMMANDS[name][0].split(":")
    loaded = getattr(import_module(f"florence_rag.cli.{module}"), attribute)
    if isinstance(loaded, type):
        return _to_click(name, loaded)
    commands = {name: _to_click(name, command) for name, command in loaded.commands.items()}
    return TyperGroup(name=name, help=loaded.help, commands=commands, no_args_is_help=True)


def _to_click(name: str, command: type[Command]) -> Any:
    """Return a command for Click. The options that it declares come before those that it inherits."""
    app = typer.Typer(add_completion=False)
    app.command(name)(command)
    loaded = typer.main.get_command(app)
    create: Any = loaded.callback
    loaded.callback = lambda **values: create(**values).run()
    depths = {field: depth for depth, base in enumerate(command.__mro__) for field in inspect.get_annotations(base)}
    loaded.params.sort(key=lambda parameter: depths[parameter.name])
    return loaded


class LazyCommandGroup(ErrorHandlingGroup):
    """The group of all commands. It imports a command when the command is called, and not for the list of commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        lazy = {name: TyperCommand(name, help=summary) for name, (_, summary) in COMMANDS.items()}
        self.commands = {**self.commands, **lazy}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command with its options."""
        return load_command(cmd_name) if cmd_name in COMMANDS else super().get_command(ctx, cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help page from the summaries of the commands."""
        page = TyperGroup(
            help=self.help, params=self.params, commands=dict(self.commands), rich_markup_mode=self.rich_markup_mode
        )
        page.format_help(ctx, formatter)


app = typer.Typer(
    cls=LazyCommandGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Index images, videos, text and PDF files; search them by text and images; ask questions.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"florence-rag {version('florence-rag')}")
        raise typer.Exit


@app.callback()
def root(
    print_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    log_level: Annotated[
        Literal["debug", "info", "warning"] | None,
        typer.Option(help="Print log records from this level on to standard error.", show_default=False),
    ] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Print log records as lines of JSON.")] = False,
) -> None:
    """Options before a command."""
    if log_level or log_json:
        from florence_rag.cli.logging_setup import configure_logging

        configure_logging(log_level or "info", as_json=log_json)


def main() -> None:
    """Run `florence-rag`."""
    atexit.register(gc.freeze)  # otherwise the interpreter looks through all modules for garbage before it ends
    treat_termination_as_interrupt()
    quiet_libraries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may lack characters that file names have
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="florence-rag")
    except SystemExit as end:
        if end.code in INTERRUPTED:
            end_at_once(end.code)
        raise
