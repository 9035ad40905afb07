"""The commands of docs/evaluation.md run in their order, on synthetic scenes in data/."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import florence_rag
from florence_rag.cli.app import app
from recipes.florence_tiny.synthetic.dataset_export import export_datasets

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf-8")
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]


@pytest.mark.slow
@pytest.mark.parametrize("own_index", [False, True])
def test_the_commands_run(own_index: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert COMMANDS[0] == "python -m recipes.florence_tiny.synthetic.dataset_export data/"
    export_datasets(tmp_path / "data", 24)
    shutil.copytree(Path(florence_rag.__file__).parent / "assets" / "florence_tiny" / "meter", tmp_path / "my-model")
    for command in COMMANDS[1:]:
        if (" eval " in command) == own_index:
            continue
        outcome = CliRunner().invoke(app, shlex.split(command)[1:])
        assert outcome.exit_code == 0 and ("Florence" in outcome.stdout) != own_index, f"{command}: {outcome.output}"
