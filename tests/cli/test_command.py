"""Commands inherit their options, and the classes that they inherit from open databases and load models."""

import gc
from pathlib import Path

import pytest

from florence_rag.cli.app import load_command
from florence_rag.cli.command import EmbeddingCommand, ModelCommand, QueryCommand
from florence_rag.errors import StoreError


class Load(ModelCommand):
    def run(self) -> None:
        self.print({"offline": self.model_options().offline}, "loaded")


class Embed(EmbeddingCommand):
    text: str = ""

    def run(self) -> None:
        with self.open_rag() as rag:
            self.print({}, rag.index.info().uri)


class Query(QueryCommand):
    def run(self) -> None:
        self.print({"kinds": sorted(self.kinds or ())}, "")


def test_options_of_a_command_come_before_inherited_ones():
    names = [parameter.name for parameter in load_command("search").params]
    assert names[:2] == ["text", "image"] and names[-1] == "as_json"
    assert names.index("model") < names.index("kind") < names.index("db")


def test_a_result_is_text_or_json(capsys):
    Load(offline=True).run()
    Load(offline=True, as_json=True).run()
    assert capsys.readouterr().out == 'loaded\n{"offline": true}\n'


def test_model_options_include_those_of_the_embedder():
    options = Embed(offline=True, precision="int8", backend="onnx").model_options()
    assert (options.offline, options.precision, options.backend) == (True, "int8", "onnx")


def test_garbage_is_collected_once_the_database_is_open(opened_with):
    with Embed().open_rag():
        assert gc.isenabled()


def test_a_missing_database_is_not_created(tmp_path: Path):
    with pytest.raises(StoreError):
        Embed(db=str(tmp_path / "none.db")).run()
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(("kind", "kinds"), [(None, None), (["clip", "image"], {"clip", "image"})])
def test_kinds_of_a_query(kind, kinds):
    assert Query(kind=kind).kinds == kinds
