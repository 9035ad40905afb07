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


def test_the_names_are_sorted_and_stated_alike_for_python_and_for_type_checkers():
    tree = ast.parse(Path(florence_rag.__file__).read_text("utf-8"))
    typed = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    names = set(typed) - {"annotations", "import_module", "TYPE_CHECKING", "Any"}
    assert names == set(florence_rag.__all__) == set(florence_rag._HOME_OF)
    assert florence_rag.__all__ == sorted(florence_rag.__all__) == dir(florence_rag)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'florence_rag' has no attribute 'Nonsense'"):
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
