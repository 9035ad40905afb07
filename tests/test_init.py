import ast
import subprocess
import sys
from pathlib import Path

import pytest

import florence_rag

HEAVY = {"torch", "transformers", "pymilvus", "milvus_lite", "PIL", "av", "cv2", "onnxruntime", "langchain", "numpy"}


@pytest.mark.parametrize("name", florence_rag.__all__)
def test_every_public_name_is_there(name):
    assert getattr(florence_rag, name).__name__ == name


def test_the_stub_lists_the_names_that_the_package_offers():
    tree = ast.parse(Path(florence_rag.__file__).with_suffix(".pyi").read_text("utf-8"))
    names = [alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(names) == sorted(florence_rag.__all__) == sorted(dir(florence_rag))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="No florence_rag attribute Nonsense"):
        _ = florence_rag.Nonsense


def loaded_after(code):
    """The heavy packages that are loaded in a fresh interpreter after running the code."""
    script = f"{code}\nimport sys\nprint(*set({sorted(HEAVY)!r}) & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_after("import florence_rag") == set()


def test_importing_the_pipeline_loads_no_models_and_no_store():
    loaded = loaded_after("from florence_rag import FlorenceRAG, RetrievalConfig")
    assert loaded & {"torch", "transformers", "pymilvus", "milvus_lite", "onnxruntime", "langchain"} == set()
