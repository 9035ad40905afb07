"""The command line in this process, over a FlorenceRAG that is built from the shipped doubles."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymilvus  # noqa: F401 - resets logging when imported, which closes others' streams if output is captured then
import pytest
from PIL import Image
from typer.testing import CliRunner

from florence_rag.cli.app import app
from florence_rag.cli.command import DatabaseCommand
from florence_rag.context import Models
from florence_rag.index.address import Address
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, ScriptedReader, color_frame


@dataclass
class Outcome:
    """What a command wrote and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run() -> Callable[..., Outcome]:
    def run(*arguments: object) -> Outcome:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def rag() -> FlorenceRAG:
    embedder = ColorEmbedder()
    return FlorenceRAG(
        MemoryIndex(embedder.info),
        Models.of(embedder, vqa=ColorVQA(), ocr_reader=ScriptedReader({"red": "STOP at the red line"})),
    )


@pytest.fixture
def opened_with(rag, monkeypatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Every command opens `rag`; the list is filled with what `open` was called with."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def open_doubles(*arguments: Any, **options: Any) -> FlorenceRAG:
        calls.append((arguments, options))
        return rag

    monkeypatch.setattr(FlorenceRAG, "open", open_doubles)
    monkeypatch.setattr(Address, "is_missing", False)
    monkeypatch.setattr(DatabaseCommand, "open_index", lambda _: nullcontext(rag.index))
    return calls


@pytest.fixture
def photos(tmp_path, opened_with) -> Path:
    """A folder with three photos of one color each, and a text."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for color in ("red", "blue", "green"):
        Image.fromarray(color_frame(color)).save(folder / f"{color}.png")
    (folder / "notes.txt").write_text("The bakery opens at seven in the morning.")
    return folder
