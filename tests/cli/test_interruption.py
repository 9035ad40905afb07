"""Interrupting a run leaves a database that opens, and that a second run completes without duplicates."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florence_rag.testing import COLORS, color_frame

PROGRAM = Path(__file__).with_name("color_program.py")
FILES = 160  # five batches
APART = ("--near-duplicates", "keep")  # many differ in one pixel


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    pairs = [(first, second) for first in COLORS for second in COLORS]
    for number in range(FILES):
        frame = color_frame(*pairs[number % len(pairs)])
        frame[0, 0] = number
        Image.fromarray(np.ascontiguousarray(frame)).save(folder / f"{number:03}.png")
    return folder


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(*arguments: object) -> dict[str, Any]:
    with start(*arguments, "--json") as process:
        out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return json.loads(out)


def index_until(batch: int, sent: signal.Signals, photos: Path, db: Path) -> tuple[int, str]:
    """Index, send a signal while this batch is embedded, and return the exit code and the last output."""
    with start("index", photos, *APART, "--db", db) as process:
        for _ in range(batch):
            assert process.stderr.readline() == "embedding\n"
        process.send_signal(sent)
        out, err = process.communicate(timeout=200)
    assert out == ""
    return process.returncode, err.replace("embedding\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_second_run_completes_an_interrupted_run(photos, tmp_path, sent, batch):
    db = tmp_path / "photos.db"
    code, said = index_until(batch, sent, photos, db)
    if sent == signal.SIGKILL:
        assert code == -sent
    else:
        assert code == 128 + sent
        assert said == "Interrupted. Indexed files are kept: run the same command again to complete it.\n"

    report = run("index", photos, *APART, "--db", db)
    assert report["added"] + report["unchanged"] == FILES
    assert report["failed"] == []
    if sent != signal.SIGKILL and batch == 4:
        assert report["unchanged"] >= 32  # a clean end keeps finished files

    info = run("info", "--db", db)
    assert (info["sources"], info["chunks"]["image"], info["incomplete"]) == (FILES, FILES, [])
    hits = run("search", "red", "-k", 2 * FILES, "--db", db)["hits"]
    assert len({hit["source"] for hit in hits}) == len(hits) == FILES


@pytest.mark.slow
def test_an_interrupted_run_does_not_wait_for_a_model(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("COLOR_PROGRAM_SECONDS", "60")
    started = time.monotonic()
    code, _ = index_until(1, signal.SIGINT, photos, tmp_path / "photos.db")
    assert code == 130 and time.monotonic() - started < 60


def test_a_database_in_use_is_one_line(photos, tmp_path):
    db = tmp_path / "photos.db"
    with start("index", photos, "--db", db) as first:
        first.stderr.readline()
        first.send_signal(signal.SIGSTOP)  # so that it holds the database for as long as it takes
        with start("search", "red", "--db", db) as second:
            out, err = second.communicate(timeout=100)
        first.kill()
    assert (second.returncode, out) == (1, "")
    assert err.startswith("Error: ")
    assert "another process" in err
    assert err.count("\n") == 1
