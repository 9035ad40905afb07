"""Lower levels never import higher ones, siblings never import each other, and no folder is a drawer."""

import ast
from collections.abc import Container, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "florence_rag"
PLUGINS = sorted((ROOT / "retrievers").glob("*/"))

BASE = {
    "types",
    "index_report",
    "untrusted_text",
    "errors",
    "batching",
    "tokenize",
    "text_arguments",
    "validation",
    "deferred_signals",
    "jpeg",
    "json_values",
    "async_methods",
    "skip_counts",
    "workers",
    "redaction",
    "telemetry",
}
STAGES = {"chunking", "perception", "embedding", "index"}
STAGE_PROTOCOLS = {f"{stage}.base" for stage in STAGES}
LOADABLE = BASE | {"models", "sources"} | STAGES | {"retrieval", "answering", "image_store", "context", "loading"}
RUNNABLE = LOADABLE | {"ingest", "tasks", "chat", "reembed", "maintenance", "datasets"}
PUBLIC = RUNNABLE | {"rag", "evaluation", "finetuning"}

MAY_IMPORT: dict[str, set[str]] = {
    "types": {"errors", "validation"},
    "index_report": {"types", "validation"},
    "untrusted_text": {"tokenize", "types"},
    "redaction": set(),
    "telemetry": {"redaction"},
    "errors": {"redaction"},
    "batching": set(),
    "tokenize": set(),
    "text_arguments": {"errors", "validation"},
    "validation": {"errors"},
    "deferred_signals": set(),
    "jpeg": {"types"},
    "json_values": {"errors", "text_arguments"},
    "async_methods": set(),
    "skip_counts": {"types"},
    "workers": {"errors", "deferred_signals"},
    "models": BASE,
    "sources": BASE,
    "chunking": BASE | {"sources"},
    "index": BASE,
    "perception": BASE | {"models"},
    "embedding": BASE | {"models"},
    "retrieval": BASE
    | STAGE_PROTOCOLS
    | {"context", "image_store", "chunking", "embedding.region_view", "embedding.everyday_texts"},
    "answering": BASE | STAGE_PROTOCOLS | {"context", "image_store", "retrieval.image_match"},
    "image_store": BASE | STAGE_PROTOCOLS | {"sources", "chunking"},
    "context": BASE | STAGE_PROTOCOLS | {"image_store"},
    "loading": LOADABLE,
    "ingest": LOADABLE,
    "tasks": LOADABLE | {"ingest", "datasets"},
    "chat": LOADABLE | {"tasks"},
    "reembed": LOADABLE | {"ingest"},
    "maintenance": LOADABLE | {"ingest"},
    "settings": RUNNABLE,
    "rag": RUNNABLE | {"settings", "viz"},
    "viz": BASE,
    "datasets": BASE | {"sources", "chunking"},
    "evaluation": LOADABLE | {"datasets"},
    "finetuning": LOADABLE | {"datasets"},
    "testing": LOADABLE | {"ingest", "tasks", "rag"},
    "tools": RUNNABLE | {"rag", "viz"},
    "server": RUNNABLE | {"rag", "tools", "viz"},
    "cli": PUBLIC | {"settings", "tools", "viz", "server"},
    "__main__": {"cli"},
    "__init__": RUNNABLE | {"rag"},
}

ABOVE_THE_FACADE = {"rag", "tools", "server", "cli", "testing", "__init__"}

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
    folders = ("florence_rag", "retrievers", "recipes", "examples", "benchmarks", "tests")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def folder_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def longest_module(name: str, modules: Container[str]) -> str | None:
    """The module that the name lies in; a package is one only for names that it defines or passes on."""
    return next((prefix for prefix in (name, name.rpartition(".")[0]) if prefix in modules), None)


def is_allowed(target: str, allowed: set[str]) -> bool:
    return any(target == name or target.startswith(f"{name}.") for name in allowed)


def test_a_module_imports_only_its_own_folder_and_lower_levels():
    folders = {folder_of(path) for path in PACKAGE.rglob("*.py")}
    assert folders <= MAY_IMPORT.keys(), "a folder has no level: add it here and to docs/architecture.md"
    above = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for name, _ in imports_of(path)
        if name.startswith("florence_rag.")
        and not is_allowed(name.removeprefix("florence_rag."), MAY_IMPORT[folder_of(path)] | {folder_of(path)})
    ]
    assert above == []


def test_no_import_is_part_of_a_cycle():
    """Imports inside functions and under TYPE_CHECKING count, too."""
    modules = {module_name(path): path for path in PACKAGE.rglob("*.py")}
    graph = {
        module: {
            target for name, _ in imports_of(path) if (target := longest_module(name, modules)) and target != module
        }
        for module, path in modules.items()
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError(f"modules import each other: {' -> '.join(error.args[1])}") from None


def test_no_module_below_the_facade_names_it():
    for path in sorted(PACKAGE.rglob("*.py")):
        if folder_of(path) not in ABOVE_THE_FACADE:
            assert "florence_rag.rag.FlorenceRAG" not in {name for name, _ in imports_of(path)}, path


def test_no_file_imports_a_star_or_the_folder_of_the_plug_ins():
    for path in python_files():
        imported = list(imports_of(path))
        assert [name for name, star in imported if star] == [], path
        assert [name for name, _ in imported if name.split(".")[0] == "retrievers"] == [], path


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
    module.write_text("from ..retrieval import Retriever\nfrom florence_rag import ingest\nimport os\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    found = [name for name, _ in imports_of(module)]
    assert found == ["florence_rag.retrieval.Retriever", "florence_rag.ingest", "os"]
