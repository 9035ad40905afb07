"""The commands and the programs of docs/adapters.md run in their order, on the drawn town as photos/."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from florence_rag.cli.app import app
from recipes.florence_tiny.synthetic.demo_corpus import photo_scenes
from recipes.florence_tiny.synthetic.drawing import draw_scene

PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, scene in list(photo_scenes().items())[8:16]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_scene(scene, (480, 360)).save(path)
        kind = "bus" if any(thing.category == "bus" for thing in scene.objects) else "no bus"
        (tmp_path / "kinds" / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "kinds" / kind)
    return tmp_path


@pytest.mark.slow
def test_the_blocks_run(town: Path) -> None:
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, str(PAGE), "exec"), {})
            continue
        for line in block.splitlines():
            outcome = CliRunner().invoke(app, shlex.split(line)[1:])
            assert outcome.exit_code == 0 and outcome.stdout, f"{line}: {outcome.output}"
