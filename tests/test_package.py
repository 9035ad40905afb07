"""The wheel, installed where its source tree cannot be seen, has everything: packages, models, the command."""

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXTRAS = "langchain langchain_core langgraph llama_index openai openvino accelerate hypothesis pytest".split()


@pytest.fixture(scope="module")
def run_clean(tmp_path_factory) -> Callable[..., str]:
    """Runs Python in a new environment with the wheel, and the dependencies of this one but not its editable code."""
    folder = tmp_path_factory.mktemp("package")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)

    def run_clean(*arguments: object) -> str:
        command = [folder / "venv" / "bin" / "python", *arguments]
        return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    run_clean("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel)
    site = Path(run_clean("-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    # The .pth files of a folder that is named in a .pth file are not read: that is what hides the editable install.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return run_clean


@pytest.mark.parametrize("package", ["florence_rag", "langchain_florence", "llama_index_florence"])
def test_packages_come_from_the_wheel(run_clean, package):
    file = Path(run_clean("-c", f"import {package}; print({package}.__file__)"))
    assert ROOT not in file.parents
    assert "site-packages" in file.parts


def test_every_model_that_ships_is_whole(run_clean):
    check = (
        "from florence_rag.models.registry import CARDS, ASSETS\n"
        "for card in CARDS.values():\n"
        "    if card.source.startswith(str(ASSETS)):\n"
        "        for part in (card.florence, card.meter):\n"
        "            assert (part / 'model.safetensors').stat().st_size > 100_000, part\n"
        "            print(part)\n"
    )
    parts = run_clean("-c", check).splitlines()
    assert len(parts) >= 2
    assert all("site-packages" in part for part in parts)


def test_types_are_shipped(run_clean):
    run_clean(
        "-c", "import florence_rag, pathlib; assert (pathlib.Path(florence_rag.__file__).parent / 'py.typed').exists()"
    )


def test_no_extra_is_needed(run_clean, tmp_path):
    """Index, search and answer a picture and a text with the shipped model, all extras out of reach."""
    (tmp_path / "notes.txt").write_text("The bakery opens at seven.")
    script = (
        "import sys\n"
        f"sys.modules |= dict.fromkeys({EXTRAS!r})\n"
        "from florence_rag import FlorenceRAG\n"
        f"with FlorenceRAG.open({str(tmp_path / 'new.db')!r}, 'florence-tiny') as rag:\n"
        f"    rag.add({str(tmp_path)!r})\n"
        "    print(rag.ask('When does the bakery open?').answer)\n"
    )
    assert run_clean("-c", script) == "The bakery opens at seven."


def test_the_command_is_installed(run_clean):
    where = Path(run_clean("-c", "import sys; print(sys.prefix)")) / "bin" / "florence-rag"
    assert "Index images" in subprocess.check_output([where, "--help"], text=True)


def test_the_demo_corpus_is_whole(run_clean, tmp_path):
    script = "from florence_rag.datasets.demo_corpus import copy_demo_corpus; import sys; copy_demo_corpus(sys.argv[1])"
    run_clean("-c", script, tmp_path)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 31


def test_tests_recipes_and_examples_stay_out(run_clean):
    names = ("tests", "recipes", "benchmarks", "examples", "retrievers")
    script = f"from importlib.util import find_spec; print([name for name in {names} if find_spec(name)])"
    assert run_clean("-c", script) == "[]"
