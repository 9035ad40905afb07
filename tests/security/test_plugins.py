"""What a language model would have been told by the plug-ins about files that try to give it instructions."""

import pytest
from langchain_core.documents import Document
from llama_index.core.llms.mock import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import MetadataMode, TextNode
from llama_index.core.tools import RetrieverTool

from florence_rag.ingest.items import is_binary
from langchain_florence import FlorenceRetriever as LangChainRetriever
from langchain_florence import documents_to_content, florence_tools
from llama_index_florence import FlorenceRetriever as LlamaIndexRetriever
from llama_index_florence import FlorenceToolSpec, FlorenceVectorStore
from tests.security.attacks import check_neutral, check_told, marks_of


def call(tool_id, name, arguments):
    return {"type": "tool_call", "id": tool_id, "name": name, "args": arguments}


def texts_of(content):
    blocks = [content] if isinstance(content, str) else content
    return [
        block if isinstance(block, str) else block["text"] for block in blocks if "text" in block or block is content
    ]


def test_the_tools_of_langchain(targets):
    for target in targets:
        search = florence_tools(target.rag, image_mode="text")[0]
        found = search.invoke(call("1", search.name, {"query": "red", "k": 2}))
        assert found.status == "success" and "The images show:" in found.content
        check_told(found.content)
        for wrong in ({"query": "red", target.attack: 1}, {"query": "red", "filter": target.attack}):
            refused = search.invoke(call("2", search.name, wrong))
            assert refused.status == "error" and "\n" not in refused.content
            check_neutral(refused.content)


def test_the_tools_of_llama_index(targets):
    for target in targets:
        search = FlorenceToolSpec(target.rag, image_mode="text").to_tool_list()[0]
        check_told(search.call(query="red", k=2).content)
        refused = search.call(query="red", **{target.attack: 1})
        assert refused.is_error and "\n" not in refused.content
        check_neutral(refused.content)


def test_documents_of_langchain_in_a_message(targets):
    for target in targets:
        documents = LangChainRetriever(target.rag, k=4).invoke("red")
        for document in documents:
            check_neutral(document.page_content)
        stored = Document(target.attack, metadata={target.attack: target.attack})
        blocks = documents_to_content([*documents, stored])
        assert len(blocks) == 5
        check_told("\n".join(block["text"] for block in blocks))


def test_nodes_of_llama_index_in_a_prompt(targets):
    for target in targets:
        for found in LlamaIndexRetriever(target.rag, k=4).retrieve("red"):
            check_neutral(found.node.text)
            check_told(found.node.get_content(MetadataMode.LLM))
            blocks = found.node.get_content_blocks(MetadataMode.LLM)
            check_told("\n".join(block.text for block in blocks if block.block_type == "text"))


def test_stored_nodes_of_llama_index_with_metadata_that_a_model_reads(targets):
    for target in targets:
        if is_binary(f"red {target.attack}"):  # the store refuses it
            continue
        store = FlorenceVectorStore(target.rag)
        node = TextNode(id_="a", text=f"red {target.attack}", metadata={"title": target.attack, "b c": 1})
        store.add([node])
        (found,) = store.get_nodes(["a"])
        store.delete_nodes(["a"])
        told = found.get_content(MetadataMode.LLM)
        check_told(told)
        assert "b c: 1" in told and len(marks_of(told)) == 1
        assert marks_of(found.get_content(MetadataMode.EMBED)) == []


@pytest.mark.parametrize("mode", [ResponseMode.COMPACT, ResponseMode.REFINE])
def test_a_query_engine_of_llama_index(targets, mode):
    """The mock repeats its prompt."""
    for target in targets:
        retriever = LlamaIndexRetriever(target.rag, k=2, images=False)
        engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM(), response_mode=mode)
        check_told(str(engine.query("What is red?")))
        check_told(RetrieverTool.from_defaults(retriever).call("red").content)
