"""Installs the wheel in clean environments: alone, with each extra, and with all; prints sizes and times as Markdown.

    python benchmarks/install.py [--extras server,langchain] [--constraints constraints.txt]

The size is that of the installed packages, without pip. The time includes downloads, unless pip has cached them. An
extra is installed into a copy of the environment with the wheel alone. The command and the imports of the extra are
tried in each.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEVELOPMENT = {"dev", "docs", "all"}
IMPORTS = {
    "llm": "langchain",
    "langchain": "langchain_florence",
    "llama-index": "llama_index_florence",
    "bulk": "pyarrow, ml_dtypes",
    "train": "accelerate, florence_rag.finetuning.trainer",
    "office": "openpyxl, defusedxml",
    "raw": "rawpy",
    "remote": "fsspec",
    "eval": "pycocotools",
    "otel": "opentelemetry",
    "sixel": "timg",
    "mcp": "florence_rag.server.mcp_server",
    "server": "florence_rag.server.app",
    "adapters": "sklearn",
}


def build(folder: Path) -> Path:
    """Build the wheel, and return its path."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    return next(folder.glob("*.whl"))


def size_mb(environment: Path) -> float:
    """Return the size of the packages of an environment, without pip."""
    (site,) = environment.glob("lib/python*/site-packages")
    files = (path for path in site.rglob("*") if path.is_file() and path.relative_to(site).parts[0] != "pip")
    return sum(path.stat().st_size for path in files) / 1e6


def install(environment: Path, requirement: str, options: list[str]) -> float:
    """Install a requirement, and return the seconds."""
    python = environment / "bin" / "python"
    started = time.perf_counter()
    subprocess.run([python, "-m", "pip", "install", "--quiet", *options, requirement], check=True)
    seconds = time.perf_counter() - started
    subprocess.run([python, "-m", "pip", "check"], check=True, stdout=subprocess.DEVNULL)
    return seconds


def check(environment: Path, modules: str = "florence_rag") -> None:
    """Run the command of the package, and import modules, where the source tree cannot be seen."""
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "florence_rag", "models"], check=True, cwd=environment, stdout=subprocess.DEVNULL)
    subprocess.run([python, "-c", f"import {modules}"], check=True, cwd=environment)


def main() -> None:
    """Print a row for each environment."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extras", default=",".join([*sorted(extras.keys() - DEVELOPMENT), "all"]))
    parser.add_argument("--constraints", default=str(ROOT / "constraints.txt"))
    arguments = parser.parse_args()
    options = ["--constraint", arguments.constraints]
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        wheel = build(Path(folder))
        venv.create(base, with_pip=True)
        print("| install | size | time |\n|---|---|---|", flush=True)
        seconds, core_mb = install(base, str(wheel), options), size_mb(base)
        check(base)
        print(f"| `florence-rag` | {core_mb:,.0f} MB | {seconds:.0f} s |", flush=True)
        for extra in arguments.extras.split(","):
            copy = Path(folder) / "copy"
            shutil.copytree(base, copy, symlinks=True)
            seconds = install(copy, f"{wheel}[{extra}]", options)
            check(copy, IMPORTS.get(extra, "florence_rag"))
            print(f"| `florence-rag[{extra}]` | + {size_mb(copy) - core_mb:,.0f} MB | + {seconds:.0f} s |", flush=True)
            shutil.rmtree(copy)


if __name__ == "__main__":
    main()
