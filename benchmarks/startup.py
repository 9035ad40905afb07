"""CPU seconds to start the command line and to import the package: the least of several new processes.

python benchmarks/startup.py
"""

from __future__ import annotations

import resource
import subprocess
import sys

RUNS = 7
COMMANDS = {
    "python -c pass": ("-c", "pass"),
    "import florence_rag": ("-c", "import florence_rag"),
    "florence-rag --help": ("-m", "florence_rag", "--help"),
    "florence-rag search --help": ("-m", "florence_rag", "search", "--help"),
    "from florence_rag import FlorenceRAG": ("-c", "from florence_rag import FlorenceRAG"),
}


def seconds(arguments: tuple[str, ...]) -> float:
    """Return the CPU time of one process, which depends little on how busy the machine is."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a table."""
    for name, arguments in COMMANDS.items():
        print(f"{min(seconds(arguments) for _ in range(RUNS)):6.2f} s  {name}")


if __name__ == "__main__":
    main()
