"""The page of the architecture names files, calls and tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
PARTS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", PAGE, re.MULTILINE))
NAMED = re.compile(r"`([\w./]+)`")


def rows(part: str, columns: int) -> list[tuple[str, ...]]:
    cells = [tuple(line.strip("| ").split(" | ")) for line in PARTS[part].splitlines() if line.startswith("| ")]
    return [row for row in cells if len(row) == columns and NAMED.search("".join(row))]


def find(name: str) -> Path:
    """Return the file that the page names, whose path is relative to the package or to the repository."""
    return next((path for top in ("florence_rag", "") if (path := ROOT / top / name).exists()), ROOT / name)


ADDITIONS = rows("Add something", 2)


@pytest.mark.parametrize("files", [files for files, _ in ADDITIONS])
def test_the_files_of_an_addition_exist(files):
    names = [name for name in NAMED.findall(files) if "NAME" not in name and "/" in name]
    assert [name for name in names if not find(name).exists()] == []


@pytest.mark.parametrize(("files", "change"), ADDITIONS)
def test_the_names_of_an_addition_are_in_its_files(files, change):
    named = NAMED.findall(files + change)
    paths = [path for name in named if (path := find(name)).is_file()]
    texts = [path.read_text("utf-8") for path in paths if path.suffix in (".py", ".toml")]
    names = [part for name in named if not find(name).exists() and "/" not in name for part in name.split(".")]
    known = [name for name in names if name.isidentifier() and name.casefold() != name]
    if texts:
        assert [name for name in known if not any(name in text for text in texts)] == []


def test_the_calls_on_the_way_to_milvus_exist():
    hops = [row for row in rows("How a search and an add reach Milvus", 3) if row[2] != "pymilvus"]
    assert len(hops) >= 12
    for _, call, module in hops:
        text = find(module.strip("`")).read_text("utf-8")
        methods = [name.rpartition(".")[2] for name in NAMED.findall(call.partition(":")[0])]
        missing = [name for name in methods if name != "MilvusIndex" and f"def {name}(" not in text]
        assert missing == [], module


def test_the_table_of_levels_has_all_modules():
    levels = (ROOT / "tests" / "test_levels.py").read_text("utf-8")
    modules = re.findall(r'^    "(\w+)": ', levels.partition("MAY_IMPORT")[2].partition("}\n\n")[0], re.MULTILINE)
    listed = set(NAMED.findall(PARTS["Who may import whom"]))
    assert len(modules) > 20
    assert [module for module in modules if not module.startswith("__") and module not in listed] == []
