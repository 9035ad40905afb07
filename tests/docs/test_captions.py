"""The commands of docs/captions.md run, on the drawn town as photos/."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from florence_rag.cli.app import app
from recipes.florence_tiny.synthetic.demo_corpus import photo_scenes
from recipes.florence_tiny.synthetic.drawing import draw_scene

PAGE = (Path(__file__).parents[2] / "docs" / "captions.md").read_text("utf-8")
COMMANDS = re.findall(r"^florence-rag (.*)$", PAGE, re.MULTILINE)


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, scene in list(photo_scenes().items())[:4]:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_scene(scene).save(path)
    outputs = [CliRunner().invoke(app, shlex.split(command)) for command in COMMANDS]
    assert [output.exit_code for output in outputs] == [0] * 3, [output.output for output in outputs]
    described, indexed, found = (" ".join(output.stdout.split()) for output in outputs)
    assert indexed.startswith("4 added")
    caption = re.search(r'^"(.+?)": the detector finds', PAGE, re.MULTILINE)[1]
    assert caption in described and caption in found and "street-01.jpg" in found
