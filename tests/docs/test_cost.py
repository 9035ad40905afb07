"""docs/cost.md has a row for each that the benchmark prints."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_is_that_of_the_benchmark() -> None:
    page = (ROOT / "docs" / "cost.md").read_text("utf-8")
    listed = re.findall(r"^\| (\S.*?) \| [\d.]+ ms \| an? (.*?) \| \d+ MiB \|$", page, re.MULTILINE)
    rows = runpy.run_path(str(ROOT / "benchmarks" / "cost.py"))["ROWS"]
    assert listed == [(name, unit) for name, (unit, _) in rows.items()]
