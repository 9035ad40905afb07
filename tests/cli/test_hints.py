"""Commands and options that a message or a help text names exist where it can appear."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import florence_rag
from florence_rag.cli.app import COMMANDS, load_command
from florence_rag.cli.command import CommandGroup

PACKAGE = Path(florence_rag.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
CALL = re.compile(r"(?:florence-rag|^ *X) ([a-z]+)(?: ([a-z]+))?([^`;]*)")
OTHER_PROGRAM = re.compile(r"(ray start|tensorboard) [^`;]*")

REACHED_BY = {
    "datasets/coco.py": ("eval detect", "train detect"),
    "datasets/vqav2.py": ("eval vqa", "train vqa"),
    "finetuning/trainer.py": ("train unicl", "train vqa", "train detect", "train actions"),
    "finetuning/vqa.py": ("train vqa",),
    "index/bulk/server_import.py": ("import",),
    "server/access.py": ("serve",),
    "server/index_routes.py": ("serve",),
    "server/run.py": ("serve",),
}
"""The commands in which the messages of a module appear, for modules that name an option without its command."""


def commands() -> dict[str, tuple[Any, set[str]]]:
    """Return the class and the options of each command."""
    found = {}
    for name, (place, _) in COMMANDS.items():
        module, _, attribute = place.partition(":")
        kind = getattr(__import__(f"florence_rag.cli.{module}", fromlist=[attribute]), attribute)
        parts = kind.commands if isinstance(kind, CommandGroup) else {"": kind}
        for part, each in parts.items():
            loaded = load_command(name).commands[part] if part else load_command(name)
            found[f"{name} {part}".strip()] = each, {o for parameter in loaded.params for o in parameter.opts}
    return found


KNOWN = commands()
COMMAND_MODULES = {inspect.getfile(kind) for kind, _ in KNOWN.values()}


def texts(tree: ast.AST, *, docstrings: bool) -> Iterator[str]:
    """Yield the texts in code; of an f-string, with X in place of values."""
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and not docstrings:
            skipped.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
            skipped |= {id(part) for part in node.values}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


def unknown_in_calls(text: str) -> list[str]:
    """Return what is wrong with the calls of commands in a text, such as `florence-rag index PATH --db DIR`."""
    wrong = []
    for first, second, rest in CALL.findall(text):
        name = f"{first} {second}" if f"{first} {second}" in KNOWN else first
        wanted = OPTION.findall(rest)
        if wanted and name not in KNOWN:
            wrong.append(f"florence-rag {name}")
        wrong += [
            f"florence-rag {name} {option}" for option in wanted if name in KNOWN and option not in KNOWN[name][1]
        ]
    return wrong


def bare_options(text: str) -> list[str]:
    """Return the options that a text names without a command."""
    return OPTION.findall(OTHER_PROGRAM.sub("", CALL.sub("", text)))


@pytest.mark.parametrize("name", KNOWN)
def test_a_command_names_only_options_that_it_has(name):
    kind, options = KNOWN[name]
    for each in kind.__mro__:
        if each.__module__.startswith("florence_rag.cli"):
            for text in texts(ast.parse(dedent(inspect.getsource(each))), docstrings=True):
                assert not set(bare_options(text)) - options - {"--version"}, text


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_messages_name_only_commands_and_options_that_exist(path):
    reached = REACHED_BY.get(path.relative_to(PACKAGE).as_posix(), ())
    declared = [options for kind, options in KNOWN.values() if inspect.getfile(kind) == str(path)]
    is_declaration = path.name in ("command.py", "options.py", "app.py") and path.parent.name == "cli"
    for text in texts(ast.parse(path.read_text("utf-8")), docstrings=str(path) in COMMAND_MODULES):
        assert not unknown_in_calls(text)
        for option in bare_options(text):
            if declared:
                assert any(option in options for options in declared), text
            elif not is_declaration:
                assert reached, f"{text!r} names an option that some commands lack; name the command, too"
                assert all(option in KNOWN[name][1] for name in reached), text


def test_the_check_finds_what_is_wrong():
    assert unknown_in_calls("run `florence-rag index PATH --vqa NAME`, or florence-rag nothing --db") == [
        "florence-rag index --vqa",
        "florence-rag nothing",
    ]
    assert bare_options("try `florence-rag index --db X`, or add --model; ray start --head") == ["--model"]
