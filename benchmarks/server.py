"""Measures `florence-rag serve` on the demo corpus: its start, round trips over REST and MCP, and 20 clients at once.

    python benchmarks/server.py [--db DEMO.db]

Also hits of the command line, which loads the models each time, without and with a running server, and, with Chromium
and Playwright, the time from Enter until the page shows the image of the first hit.
"""

import argparse
import asyncio
import contextlib
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from mcp.client.client import Client

from florence_rag.datasets.demo_corpus import copy_demo_corpus
from florence_rag.rag import FlorenceRAG

QUERIES = ("a red bus", "a car next to a fire hydrant", "a purple tree", "the driver rings the bell")
CLIENTS, CALLS = 20, 10
COMMAND = [sys.executable, "-m", "florence_rag"]


@contextlib.contextmanager
def serving(db: str) -> Iterator[tuple[str, psutil.Process, float]]:
    """Yield the address of a server, its process, and the seconds until its page was ready."""
    started = time.perf_counter()
    process = subprocess.Popen([*COMMAND, "serve", "--db", db, "--port", "0", "--json"], stdout=subprocess.PIPE)
    try:
        assert process.stdout
        url = json.loads(process.stdout.readline())["url"]
        urllib.request.urlopen(url, timeout=60).read()
        yield url, psutil.Process(process.pid), time.perf_counter() - started
    finally:
        process.terminate()
        process.wait(60)


def search(url: str, query: str) -> float:
    """Search over REST, and return the seconds."""
    started = time.perf_counter()
    with urllib.request.urlopen(f"{url}/api/search?{urllib.parse.urlencode({'text': query, 'limit': 5})}") as response:
        assert json.load(response)["hits"]
    return time.perf_counter() - started


async def search_by_mcp(url: str, count: int) -> list[float]:
    """Return the seconds of calls of the tool `search_images`, whose results have four images."""
    seconds = []
    async with Client(f"{url}/mcp") as client:
        for number in range(count):
            started = time.perf_counter()
            result = await client.call_tool("search_images", {"query": QUERIES[number % len(QUERIES)]})
            assert not result.is_error
            seconds.append(time.perf_counter() - started)
    return seconds


def search_in_browser(url: str, queries: Sequence[str]) -> list[float]:
    """Return the seconds from Enter until the page shows the image of the first hit; none without a browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import expect, sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        return []
    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(url)
        for query in queries:
            page.get_by_label("Description").fill(query)
            page.evaluate("document.querySelectorAll('.card').forEach(card => card.remove())")
            started = time.perf_counter()
            page.keyboard.press("Enter")
            expect(page.locator(".card").first).to_be_visible()
            page.locator(".card img").first.evaluate("image => image.decode()")
            seconds.append(time.perf_counter() - started)
        browser.close()
    return seconds


def cpu_of(command: list[str]) -> tuple[float, float]:
    """Return the seconds and the CPU seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def percentiles(seconds: list[float]) -> str:
    """Return the median and the 95th percentile in milliseconds."""
    ranked = sorted(seconds)
    return f"{statistics.median(ranked) * 1000:.0f} ms median, {ranked[int(len(ranked) * 0.95)] * 1000:.0f} ms p95"


def memory_mb(process: psutil.Process) -> float:
    """Return the memory of a process and its workers."""
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) / 1e6


def report(db: str) -> None:
    """Print the figures."""
    for name in ("first", "second"):
        seconds, cpu = cpu_of([*COMMAND, "search", QUERIES[0], "--db", db, "--json"])
        print(f"{name + ' hit, command line':<32}{seconds:.1f} s, {cpu:.1f} CPU s")
    with serving(db) as (url, process, ready_s):
        print(f"{'page ready':<32}{ready_s:.1f} s, {memory_mb(process):.0f} MB")
        seconds, cpu = cpu_of([*COMMAND, "search", QUERIES[0], "--db", db, "--json"])
        print(f"{'hit, command line with a server':<32}{seconds:.1f} s, {cpu:.1f} CPU s")
        print(f"{'first hit, REST':<32}{search(url, QUERIES[0]) * 1000:.0f} ms")
        one = [search(url, query) for query in QUERIES * 10]
        print(f"{'search, REST':<32}{percentiles(one)}")
        print(f"{'search with images, MCP':<32}{percentiles(asyncio.run(search_by_mcp(url, 20)))}")
        if in_browser := search_in_browser(url, QUERIES * 5):
            print(f"{'search, browser':<32}{percentiles(in_browser)}")
        with ThreadPoolExecutor(CLIENTS) as clients:
            queries = [QUERIES[number % len(QUERIES)] for number in range(CLIENTS * CALLS)]
            started = time.perf_counter()
            many = list(clients.map(lambda query: search(url, query), queries))
            rate = len(many) / (time.perf_counter() - started)
        print(
            f"{f'search, {CLIENTS} clients':<32}{percentiles(many)}, {rate:.0f} searches/s, {memory_mb(process):.0f} MB"
        )


def main() -> None:
    """Run the benchmark on a database, or on a new one of the demo corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--db")
    arguments = parser.parse_args()
    if arguments.db:
        report(arguments.db)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy_demo_corpus(Path(folder) / "corpus")
        db = str(Path(folder) / "demo.db")
        with FlorenceRAG.open(db, "florence-tiny") as rag:
            rag.add(Path(folder) / "corpus")
        report(db)


if __name__ == "__main__":
    main()
