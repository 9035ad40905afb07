"""`--help` and `import florence_rag` are quick because they load nothing heavy."""

import resource
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "pymilvus", "milvus_lite", "PIL", "av", "onnxruntime", "langchain", "llama_index"}


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    return {name.split(".")[0] for name in done.stderr.split()}


HELP = "import sys; sys.argv = ['florence-rag', 'search', '--help']\nfrom florence_rag.cli.app import app\n"


@pytest.mark.parametrize("code", ["import florence_rag", f"{HELP}app(standalone_mode=False)"], ids=["import", "help"])
def test_nothing_heavy_is_loaded(code):
    loaded = modules_after(code)
    assert "florence_rag" in loaded
    assert loaded & HEAVY == set()


def test_help_takes_under_half_a_second():
    """Of the processor, so that a busy machine does not matter."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "florence_rag", "--help"], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5
