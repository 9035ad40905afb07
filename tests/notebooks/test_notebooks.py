"""Notebooks are stored with the outputs of a run, and every cell still runs.

`make notebooks` runs them and stores the outputs; ARGS="chat" names some of them.
"""

import re
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
PRINTED = {
    "chat": ["how many dogs", "orange [1]", "The bus is red [1]."],
    "evaluate": ["9 queries", "all MRR@10", "p 0."],
    "fine_tune": ["images to learn from", "results show the digit"],
    "quickstart": ['"blue" (confidence', "Highest attention: left"],
    "langchain_agent": ["is not an id", '\'"blue" (confidence', "['human', 'ai', 'tool', 'human']"],
    "llama_index_chat": ["blue", "images received: [2]", "orange", "4 messages"],
    "video_moments": ["2 moments for", "runaway-dog.mp4 2.5-5.0 s", "morning-ride.mp4#t=0,2"],
}
IMAGE_COUNTS = {
    "chat": 4,
    "evaluate": 0,
    "fine_tune": 1,
    "quickstart": 6,
    "langchain_agent": 1,
    "llama_index_chat": 2,
    "video_moments": 5,
}
MAX_BYTES = 400_000


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs_of(notebook):
    return [output for cell in code_of(notebook) for output in cell.outputs]


def run(name, folder):
    """Return a notebook with its outputs, without what depends on the machine: standard error, the temporary folder."""
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", record_timing=False)
    client.resources = {"metadata": {"path": folder}}
    client.execute()
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in code_of(notebook):
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    text = nbformat.writes(notebook, indent=1) + "\n"
    return re.sub(rf"{re.escape(tempfile.gettempdir())}/tmp\w+", "/demo", text)


def has_image(output):
    data = output.get("data", {})
    return "image/png" in data or re.search(r'src="data:(image|video)/', data.get("text/html", "")) is not None


def check(notebook, name):
    outputs = outputs_of(notebook)
    printed = "\n".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in outputs)
    assert [text for text in PRINTED[name] if text not in printed] == []
    assert sum(map(has_image, outputs)) == IMAGE_COUNTS[name]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


def test_every_notebook_is_tested():
    assert set(NOTEBOOKS) == set(PRINTED) == set(IMAGE_COUNTS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_they_are_stored_with_small_outputs(name):
    text = NOTEBOOKS[name].read_text("utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    check(notebook, name)
    assert [cell.execution_count for cell in code_of(notebook)] == list(range(1, len(code_of(notebook)) + 1))
    assert len(text) < MAX_BYTES and "/home/" not in text and tempfile.gettempdir() not in text
    assert text == nbformat.writes(notebook, indent=1) + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_they_run_and_show_images(name, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'retrievers'}")
    check(nbformat.reads(run(name, tmp_path), as_version=4), name)
    assert list(tmp_path.iterdir()) == []


if __name__ == "__main__":
    for name in sys.argv[1:] or NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            NOTEBOOKS[name].write_text(run(name, folder), "utf-8")
        print(name, NOTEBOOKS[name].stat().st_size, "bytes")
