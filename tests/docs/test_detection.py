"""The commands of docs/detection.md run, on the drawn town as photos/."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from florence_rag.cli.app import app
from recipes.florence_tiny.synthetic.demo_corpus import photo_scenes
from recipes.florence_tiny.synthetic.drawing import draw_scene

PAGE = (Path(__file__).parents[2] / "docs" / "detection.md").read_text("utf-8")
COMMANDS = re.findall(r"^florence-rag (.*)$", "".join(re.findall("```bash.*?```", PAGE, re.DOTALL)), re.MULTILINE)


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, scene in list(photo_scenes().items())[:4]:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_scene(scene).save(path)
    outputs = [CliRunner().invoke(app, shlex.split(command)) for command in COMMANDS]
    assert [output.exit_code for output in outputs] == [0] * 5, [output.output for output in outputs]
    listed, _, indexed, found, by_box = (output.stdout for output in outputs)
    assert "fire hydrant" in listed
    assert indexed.startswith("4 added")
    assert "street-01.jpg, box " in found.splitlines()[0] and "image of fire hydrant" in found
    assert "street-01.jpg, box " in by_box.splitlines()[0]
