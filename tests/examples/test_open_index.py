"""Every example opens its index in the same way."""

import inspect

import pytest

from florence_rag import FlorenceRAG
from florence_rag.models.registry import TINY

EXAMPLES = ("visual_agent_langchain", "langchain_rag", "visual_agent_llama_index", "llama_index_query")


@pytest.fixture
def models(untrained, monkeypatch):
    """Let FlorenceRAG.open load the untrained model, and record under which names."""
    names, opened = [], FlorenceRAG.open

    def open(db, model=None, **options):
        names.append(model)
        return opened(db, untrained, **options)

    monkeypatch.setattr(FlorenceRAG, "open", open)
    return names


@pytest.mark.parametrize("name", EXAMPLES)
def test_all_examples_have_the_same_function(load_example, name):
    sources = {inspect.getsource(load_example(each).open_index) for each in (EXAMPLES[0], name)}
    assert len(sources) == 1


def test_a_folder_is_indexed_once_by_the_default_model(load_example, models, image_folder, tmp_path):
    open_index, reports, add = load_example("visual_agent_langchain").open_index, [], FlorenceRAG.add
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FlorenceRAG, "add", lambda rag, *paths: reports.append(add(rag, *paths)))
        for _ in range(2):
            with open_index(image_folder, tmp_path / "photos.db") as rag:
                assert rag.info().sources == 2
    assert models == [None, None]
    assert [(report.added, report.unchanged) for report in reports] == [(2, 0), (0, 2)]


def test_the_demo_corpus_is_indexed_once_into_a_named_database(load_example, models, tmp_path, monkeypatch):
    open_index = load_example("visual_agent_langchain").open_index
    with open_index(None, tmp_path / "demo.db") as rag:
        count = rag.info().sources
    monkeypatch.setattr(FlorenceRAG, "add", lambda *_: pytest.fail("it is indexed already"))
    with open_index(None, tmp_path / "demo.db") as rag:
        assert rag.info().sources == count > 20
    assert models == [TINY, None]


def test_a_database_that_exists_needs_no_folder(load_example, models, image_folder, tmp_path):
    open_index = load_example("visual_agent_langchain").open_index
    with open_index(image_folder, tmp_path / "photos.db"):
        pass
    with open_index(None, tmp_path / "photos.db") as rag:
        assert rag.info().sources == 2
