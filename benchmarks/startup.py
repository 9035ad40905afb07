"""CPU seconds until a new process has its result, the least of several runs, and its peak memory.

    python benchmarks/startup.py

The database holds the demo corpus, the model is florence-tiny. The bare script imports sentence-transformers, with
which others embed a query, and does nothing else. CPU time depends little on how busy the machine is. The first search
by an image loads PyTorch to compare vectors, and the least of several does not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from florence_rag.datasets.demo_corpus import copy_demo_corpus

RUNS = 5
OPEN = "from florence_rag import FlorenceRAG; FlorenceRAG.open({db!r})"
IMAGE = "photos/street-01.jpg"
# Without byte code, which an installed package has, a third of the time would be that of the compiler.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def measure(arguments: tuple[str, ...], expected: int = 0) -> tuple[float, float]:
    """Return the CPU time of one process in seconds, and its peak memory in megabytes."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_ENVIRONMENT
    )
    _, status, usage = os.wait4(process.pid, 0)
    if (code := os.waitstatus_to_exitcode(status)) != expected:
        raise SystemExit(f"{arguments} exits with {code}, not with {expected}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as folder:
        corpus, db = str(Path(folder, "corpus")), str(Path(folder, "photos.db"))
        copy_demo_corpus(Path(corpus))
        cli = ("-m", "florence_rag")
        search = (*cli, "search", "a red car", "--db")
        rows = {
            "python -c pass": (("-c", "pass"), 0),
            "import sentence_transformers": (("-c", "import sentence_transformers"), 0),
            "import florence_rag": (("-c", "import florence_rag"), 0),
            "florence-rag --help": ((*cli, "--help"), 0),
            "florence-rag search, wrong argument": ((*search, str(Path(folder, "none.db"))), 1),
            "florence-rag search TEXT": ((*search, db), 0),
            "florence-rag search --image FILE": ((*cli, "search", "--image", str(Path(corpus, IMAGE)), "--db", db), 0),
            "florence-rag index, nothing to do": ((*cli, "index", corpus, "--db", db), 0),
            "FlorenceRAG.open": (("-c", OPEN.format(db=db)), 0),
        }
        measure((*cli, "index", corpus, "--db", db, "--model", "florence-tiny"))
        for name, (arguments, expected) in rows.items():
            cpu_s, memory_mb = map(min, zip(*(measure(arguments, expected) for _ in range(RUNS)), strict=True))
            print(f"{cpu_s:6.2f} s {memory_mb:6,.0f} MB  {name}", flush=True)


if __name__ == "__main__":
    main()
