"""CPU seconds until a new process has its result: the least of several runs, beside a bare script.

    python benchmarks/startup.py

The database holds the demo corpus, the model is florence-tiny. The bare script imports sentence-transformers, with
which others embed a query, and does nothing else. CPU time depends little on how busy the machine is.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from florence_rag.datasets.demo_corpus import copy_demo_corpus

RUNS = 5
OPEN = "from florence_rag import FlorenceRAG; FlorenceRAG.open({db!r})"
IMAGE = "photos/street-01.jpg"


def seconds(arguments: tuple[str, ...], expected: int = 0) -> float:
    """Return the CPU time of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != expected:
        raise SystemExit(f"{arguments}: {done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
        seconds((*cli, "index", corpus, "--db", db, "--model", "florence-tiny"))
        for name, (arguments, expected) in rows.items():
            print(f"{min(seconds(arguments, expected) for _ in range(RUNS)):6.2f} s  {name}", flush=True)


if __name__ == "__main__":
    main()
