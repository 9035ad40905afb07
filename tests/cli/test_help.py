"""`--help` and `import florence_rag` are quick because they load nothing heavy."""

import subprocess
import sys

import pytest

from florence_rag.cli.app import COMMANDS, load_command

HEAVY = {
    *("torch", "transformers", "pymilvus", "milvus_lite", "PIL", "av", "onnxruntime", "pandas", "pyarrow"),
    *("langchain", "llama_index", "httpx", "requests", "fsspec", "huggingface_hub"),
}


def modules_after(code: str) -> set[str]:
    """Return the modules that a new process has loaded after this code."""
    script = f"{code}\nimport sys; print('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def packages(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


def test_importing_the_package_loads_nothing_heavy():
    loaded = packages(modules_after("import florence_rag"))
    assert "florence_rag" in loaded
    assert loaded & {*HEAVY, "numpy", "typer", "rich"} == set()


def test_the_list_of_commands_loads_no_command():
    loaded = modules_after("from florence_rag.cli.app import app\napp(['--help'], standalone_mode=False)")
    assert "florence_rag.cli.app" in loaded
    assert packages(loaded) & {*HEAVY, "numpy", "pydantic"} == set()
    modules = {f"florence_rag.cli.{place.split(':')[0]}" for place, _ in COMMANDS.values()}
    assert loaded & {*modules, "florence_rag.cli.options", "florence_rag.types"} == set()


def test_the_help_of_the_commands_loads_nothing_heavy():
    helps = "\n".join(f"app([{name!r}, '--help'], standalone_mode=False)" for name in COMMANDS)
    loaded = modules_after(f"from florence_rag.cli.app import app\n{helps}")
    assert {f"florence_rag.cli.{place.split(':')[0]}" for place, _ in COMMANDS.values()} <= loaded
    assert packages(loaded) & HEAVY == set()


def test_a_missing_database_is_reported_before_anything_heavy_is_loaded():
    command = ["search", "red", "--db", "none.db"]
    loaded = modules_after(f"from florence_rag.cli.app import app\napp({command}, standalone_mode=False)")
    assert packages(loaded) & (HEAVY - {"PIL"}) == set()
    assert "florence_rag.index.address" in loaded and "florence_rag.rag" not in loaded


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_begins_with_its_summary(name):
    help = " ".join(load_command(name).help.split())
    assert help.startswith(COMMANDS[name][1]) and COMMANDS[name][1].endswith(".")
