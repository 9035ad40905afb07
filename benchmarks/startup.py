"""Seconds to start the command line and to import the package: the best of several new processes.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
import time

RUNS = 7
COMMANDS = {
    "python -c pass": ("-c", "pass"),
    "import florence_rag": ("-c", "import florence_rag"),
    "florence-rag --help": ("-m", "florence_rag", "--help"),
    "from florence_rag import FlorenceRAG": ("-c", "from florence_rag import FlorenceRAG"),
}


def seconds(arguments: tuple[str, ...]) -> float:
    """Return the wall time of one process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Print a table."""
    for name, arguments in COMMANDS.items():
        print(f"{min(seconds(arguments) for _ in range(RUNS)):6.2f} s  {name}")


if __name__ == "__main__":
    main()
