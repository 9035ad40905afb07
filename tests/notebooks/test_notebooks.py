"""Notebooks are stored without outputs, and every cell runs."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
PRINTED = {
    "quickstart": ['"blue" (confidence', "Highest attention: left"],
    "langchain_agent": ["is not an id", '\'"blue" (confidence', "['human', 'ai', 'tool', 'human']"],
    "llama_index_chat": ["blue", "images received: [2]", "orange", "4 messages"],
    "video_moments": ["2 moments for", "runaway-dog.mp4 2.5-5.0 s", "morning-ride.mp4#t=0,2"],
}
IMAGE_COUNTS = {"quickstart": 6, "langchain_agent": 1, "llama_index_chat": 2, "video_moments": 5}


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_notebook_is_tested():
    assert set(NOTEBOOKS) == set(PRINTED)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_they_are_stored_without_outputs(name):
    text = NOTEBOOKS[name].read_text("utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_of(notebook))
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert text == nbformat.writes(notebook, indent=1) + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_they_run_and_show_images(name, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'retrievers'}")
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in code_of(notebook) for output in cell.outputs]
    printed = "\n".join(output.get("text", "") or output.data.get("text/plain", "") for output in outputs)
    assert [text for text in PRINTED[name] if text not in printed] == []
    assert sum(map(has_image, outputs)) == IMAGE_COUNTS[name]
    assert list(tmp_path.iterdir()) == []


def has_image(output):
    data = output.get("data", {})
    return "image/png" in data or re.search(r'<img src="data:image/jpeg;base64,', data.get("text/html", "")) is not None
