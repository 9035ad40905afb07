"""What README says is run: its Python blocks and its commands in their order, on the drawn town as `photos/`."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from florence_rag.cli.app import app
from florence_rag.datasets.demo_corpus import copy_demo_corpus

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = BLOCK.findall(README)
PYTHON = [body for language, body in BLOCKS if language == "python"]
SERVERS = ("florence-rag serve", "florence-rag mcp")  # run until they are stopped, in other tests
LINES = [line for _, body in BLOCKS for line in body.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("florence-rag ") and not line.startswith(SERVERS)]
TARGETS = [line.split()[1] for _, body in BLOCKS for line in body.splitlines() if line.startswith("make ")]


@pytest.fixture(scope="module")
def town(tmp_path_factory) -> Path:
    """A folder with photos/, query.jpg, and the index photos.db that the first command makes."""
    folder = tmp_path_factory.mktemp("readme")
    copy_demo_corpus(folder / "photos")
    shutil.copy(folder / "photos" / "photos" / "street-01.jpg", folder / "query.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        outcome = CliRunner().invoke(app, shlex.split(COMMANDS[0])[1:])
    assert outcome.exit_code == 0, outcome.output
    return folder


def test_the_first_command_makes_the_index():
    assert COMMANDS[0] == "florence-rag index photos/ --db photos.db --model florence-tiny"


@pytest.mark.parametrize("command", COMMANDS[1:])
def test_a_command_runs(town, monkeypatch, command):
    monkeypatch.chdir(town)
    outcome = CliRunner().invoke(app, shlex.split(command)[1:])
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout


@pytest.mark.parametrize("block", PYTHON, ids=["Python", "LangChain", "LlamaIndex"])
def test_a_python_block_runs(town, monkeypatch, capsys, block):
    monkeypatch.chdir(town)
    exec(compile(block, "README.md", "exec"), {})


def test_the_car_next_to_the_hydrant_is_blue(town, monkeypatch):
    monkeypatch.chdir(town)
    (command,) = [command for command in COMMANDS if " ask " in command]
    assert CliRunner().invoke(app, shlex.split(command)[1:]).stdout.startswith("blue ")


def test_make_has_the_targets():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert {"demo", "test"} <= set(TARGETS)
    assert [target for target in TARGETS if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
