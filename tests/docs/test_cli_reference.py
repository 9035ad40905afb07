"""docs/reference/cli.md is what Typer writes from the help texts of the commands."""

import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/reference/cli.md"
COMMAND = ("typer", "florence_rag.cli.app", "utils", "docs", "--name", "florence-rag", "--title", "Command line")


def test_the_page_lists_all_commands_with_their_options():
    done = subprocess.run([sys.executable, "-m", *COMMAND], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == PAGE.read_text("utf-8").strip(), "write the page again with: make cli-docs"
