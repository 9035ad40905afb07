"""Lower levels never import higher ones, siblings never import each other, and no folder is a drawer."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "florence_rag"
PLUGINS = sorted((ROOT / "retrievers").glob("*/"))

BASE = {"types", "errors", "words", "interrupts"}
STAGES = {"sources", "chunking", "perception", "embedding", "index"}
STAGE_PROTOCOLS = {f"{stage}.base" for stage in STAGES}
PUBLIC = (
    BASE | {"models", "places", "training", "finetuning"} | STAGES | {"retrieval", "answering", "adapters", "pipeline"}
)

MAY_IMPORT: dict[str, set[str]] = {
    "types": set(),
    "errors": set(),
    "words": set(),
    "interrupts": set(),
    "models": BASE,
    "places": BASE,
    "sources": BASE | {"places"},
    "chunking": BASE | {"places"},
    "index": BASE,
    "perception": BASE | {"models"},
    "embedding": BASE | {"models"},
    "retrieval": BASE | STAGE_PROTOCOLS,
    "answering": BASE | STAGE_PROTOCOLS,
    "adapters": BASE | {"models"} | STAGES | {"retrieval"},
    "pipeline": BASE | {"models", "places"} | STAGES | {"retrieval", "answering", "adapters", "show"},
    "evaluation": BASE | {"models"} | STAGES | {"adapters"},
    "show": BASE,
    "testing": BASE | {"models"} | STAGES | {"retrieval", "answering", "adapters", "pipeline"},
    "training": BASE | {"models"},
    "finetuning": BASE | {"models", "sources", "chunking", "adapters", "training"},
    "tools": PUBLIC - {"training", "finetuning"} | {"show"},
    "cli": PUBLIC | {"evaluation", "tools", "show"},
    "__main__": {"cli"},
    "__init__": PUBLIC - {"training", "finetuning"},
}

DRAWERS = {"util", "utils", "common", "helper", "helpers", "core", "manager", "managers", "misc"}

Import = tuple[str, bool]
"""A dotted module name and whether `*` is taken from it."""


def imports_of(path: Path) -> Iterator[Import]:
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            yield from ((f"{module}.{alias.name}".removesuffix(".*"), alias.name == "*") for alias in node.names)


def python_files() -> list[Path]:
    folders = ("florence_rag", "retrievers", "examples", "benchmarks", "tests")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def folder_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def is_allowed(target: str, allowed: set[str]) -> bool:
    return any(target == name or target.startswith(f"{name}.") for name in allowed)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_its_own_folder_and_what_lies_below(path):
    folder = folder_of(path)
    assert folder in MAY_IMPORT, f"{folder!r} has no level yet: give it one here and in docs/architecture.md"
    allowed = MAY_IMPORT[folder] | {folder}
    above = [
        name
        for name, _ in imports_of(path)
        if name.startswith("florence_rag.") and not is_allowed(name.removeprefix("florence_rag."), allowed)
    ]
    assert above == []


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_imports_a_star_or_the_folder_of_the_plug_ins(path):
    imported = list(imports_of(path))
    assert [name for name, star in imported if star] == []
    assert [name for name, _ in imported if name.split(".")[0] == "retrievers"] == []


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_a_plug_in_uses_public_names_and_not_the_other_plug_in(plugin):
    others = {other.name for other in PLUGINS} - {plugin.name}
    for path in plugin.rglob("*.py"):
        for name, _ in imports_of(path):
            parts = name.split(".")
            assert parts[0] not in others, f"{path.name} imports {name}"
            private = parts[0] == "florence_rag" and any(part.startswith("_") for part in parts)
            assert not private, f"{path.name} imports {name}"


def test_no_file_or_folder_is_a_drawer():
    names = {part for path in python_files() for part in path.relative_to(ROOT).with_suffix("").parts}
    assert names & DRAWERS == set()


def test_the_test_sees_an_import_that_goes_up(tmp_path, monkeypatch):
    module = tmp_path / "florence_rag" / "index" / "milvus.py"
    module.parent.mkdir(parents=True)
    module.write_text("from ..retrieval import Retriever\nfrom florence_rag import pipeline\nimport os\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    found = [name for name, _ in imports_of(module)]
    assert found == ["florence_rag.retrieval.Retriever", "florence_rag.pipeline", "os"]
