"""Both plug-ins keep the same promises and return the same results from one index."""

import json
import os
import secrets
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest
from langchain_core.messages import ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from llama_index.core.schema import QueryBundle

import langchain_florence
import llama_index_florence
from florence_rag import FlorenceRAG
from florence_rag.errors import InputError, StoreError
from florence_rag.testing import ColorEmbedder
from florence_rag.tools import hit_to_metadata, hit_to_text


class Found(NamedTuple):
    id: str
    text: str
    score: float
    metadata: dict[str, Any]


class Called(NamedTuple):
    text: str
    artifact: dict[str, Any] | None
    is_error: bool


class LangChain:
    Retriever = langchain_florence.FlorenceRetriever
    Embeddings = langchain_florence.FlorenceEmbeddings

    @staticmethod
    def documents(documents):
        return [Found(d.id, d.page_content, d.metadata["score"], d.metadata) for d in documents]

    def retrieve(self, retriever, text, image=None):
        return self.documents(retriever.invoke(text, image=image))

    async def aretrieve(self, retriever, text, image=None):
        return self.documents(await retriever.ainvoke(text, image=image))

    def embed_texts(self, embeddings, texts):
        return [*embeddings.embed_documents(texts[:-1]), embeddings.embed_query(texts[-1])]

    def embed_images(self, embeddings, images):
        return embeddings.embed_images(images)

    async def aembed(self, embeddings, text, image):
        return [await embeddings.aembed_query(text), *await embeddings.aembed_images([image])]

    def tools(self, rag, **options):
        return {tool.name: tool for tool in langchain_florence.florence_tools(rag, **options)}

    def schema(self, tool):
        return convert_to_openai_tool(tool)["function"]

    def strict_tools(self, rag):
        return self.tools(rag)

    def strict_schema(self, tool):
        return convert_to_openai_tool(tool, strict=True)["function"]

    def call(self, tool, **arguments):
        return self.called(tool.invoke({"type": "tool_call", "id": "1", "name": tool.name, "args": arguments}))

    async def acall(self, tool, **arguments):
        return self.called(await tool.ainvoke({"type": "tool_call", "id": "1", "name": tool.name, "args": arguments}))

    @staticmethod
    def called(message: ToolMessage):
        return Called(message.content, message.artifact, message.status == "error")


class LlamaIndex:
    Retriever = llama_index_florence.FlorenceRetriever
    Embeddings = llama_index_florence.FlorenceEmbedding

    @staticmethod
    def nodes(nodes):
        return [Found(n.node_id, n.get_content(), n.score, n.metadata) for n in nodes]

    def retrieve(self, retriever, text, image=None):
        return self.nodes(retriever.retrieve(QueryBundle(text, image_path=image and str(image))))

    async def aretrieve(self, retriever, text, image=None):
        return self.nodes(await retriever.aretrieve(QueryBundle(text, image_path=image and str(image))))

    def embed_texts(self, embeddings, texts):
        return [*embeddings.get_text_embedding_batch(texts[:-1]), embeddings.get_query_embedding(texts[-1])]

    def embed_images(self, embeddings, images):
        return embeddings.get_image_embedding_batch(list(map(str, images)))

    async def aembed(self, embeddings, text, image):
        return [await embeddings.aget_query_embedding(text), await embeddings.aget_image_embedding(str(image))]

    def tools(self, rag, **options):
        return {
            tool.metadata.name: tool for tool in llama_index_florence.FlorenceToolSpec(rag, **options).to_tool_list()
        }

    def schema(self, tool):
        return tool.metadata.to_openai_tool()["function"]

    def strict_tools(self, rag):
        spec = llama_index_florence.FlorenceToolSpec(rag, strict=True)
        return {tool.metadata.name: tool for tool in spec.to_tool_list()}

    strict_schema = schema

    def call(self, tool, **arguments):
        return self.called(tool.call(**arguments))

    async def acall(self, tool, **arguments):
        return self.called(await tool.acall(**arguments))

    @staticmethod
    def called(output):
        return Called(output.content, None if output.is_error else output.raw_output, output.is_error)


@pytest.fixture(params=[LangChain, LlamaIndex], ids=["langchain", "llama_index"])
def plugin(request):
    return request.param()


def retriever_of(plugin, rag, **settings):
    return plugin.Retriever(rag=rag, **settings)


# Importing


@pytest.mark.parametrize(
    ("package", "needs", "extra"),
    [("langchain_florence", "langchain_core", "langchain"), ("llama_index_florence", "llama_index", "llama-index")],
)
def test_a_missing_framework_is_named_with_its_extra(package, needs, extra):
    code = f"import sys; sys.modules[{needs!r}] = None; import {package}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 1
    assert f"pip install 'florence-rag[{extra}]'" in done.stderr


@pytest.mark.parametrize("package", ["langchain_florence", "llama_index_florence"])
def test_importing_a_plug_in_loads_no_model_and_no_store(package):
    code = f"import sys, {package}; print({{'torch', 'pymilvus', 'transformers'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert done.stdout.strip() == "set()"


def test_the_agents_of_langchain_are_imported_only_where_they_are_used():
    code = "import sys, langchain_florence as l; print('langchain' in sys.modules, l.FlorenceImages.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert done.stdout.strip() == "False FlorenceImages"


@pytest.mark.parametrize("package", [langchain_florence, llama_index_florence], ids=lambda package: package.__name__)
def test_all_public_names_exist_and_have_a_docstring(package):
    assert sorted(package.__all__) == package.__all__
    assert [name for name in package.__all__ if not getattr(package, name).__doc__] == []
    assert not hasattr(package, "Florence")


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


# Retrieval


def test_hits_are_those_of_the_index_in_its_order(plugin, rag):
    hits = rag.search("a red bus", k=4, group=False)
    found = plugin.retrieve(retriever_of(plugin, rag, k=4), "a red bus")
    assert found == [Found(hit.id, hit_to_text(hit), hit.score, hit_to_metadata(hit)) for hit in hits]


def test_metadata_cites(plugin, rag, folder):
    found = plugin.retrieve(retriever_of(plugin, rag, k=1, kinds={"clip"}), "purple")[0]
    assert found.metadata["source"] == str(folder / "walk.mp4")
    assert found.metadata["kind"] == "clip"
    assert found.metadata["id"] == found.id
    assert found.metadata["score"] == found.score
    assert found.metadata["locator"]["start_s"] == pytest.approx(8.0, abs=0.3)
    assert found.metadata["explanation"]
    assert found.text.startswith('[clip] "walk.mp4", 8.0-')


def test_metadata_is_json(plugin, rag):
    for found in plugin.retrieve(retriever_of(plugin, rag, k=9), "red"):
        assert json.loads(json.dumps(found.metadata)) == found.metadata


def test_an_image_is_a_query(plugin, rag, folder):
    found = plugin.retrieve(retriever_of(plugin, rag, k=1), "", folder / "blue.png")
    assert found[0].metadata["source"].endswith(("blue.png", "walk.mp4"))
    assert found == plugin.retrieve(retriever_of(plugin, rag, k=1), "", folder / "blue.png")


def test_an_image_and_a_text_are_a_query(plugin, rag, folder):
    hits = rag.search("yellow", image=folder / "blue.png", k=3, group=False)
    found = plugin.retrieve(retriever_of(plugin, rag, k=3), "yellow", folder / "blue.png")
    assert [one.id for one in found] == [hit.id for hit in hits]


def test_five_clips_of_one_video_stay_five(plugin, rag):
    found = plugin.retrieve(retriever_of(plugin, rag, k=5, kinds={"clip"}), "a walk in red")
    assert len({one.id for one in found}) == len({one.text for one in found}) == 5
    assert {one.metadata["source"] for one in found} == {found[0].metadata["source"]}


def test_clips_can_be_grouped(plugin, rag):
    found = plugin.retrieve(retriever_of(plugin, rag, k=5, kinds={"clip"}, group=True), "a walk in red")
    assert len(found) == 1
    assert len(found[0].metadata["grouped_hits"]) == 4


def test_filters_narrow(plugin, rag, folder):
    source = str(folder / "red.png")
    found = plugin.retrieve(retriever_of(plugin, rag, filter={"source": source}), "green")
    assert [one.metadata["source"] for one in found] == [source]


def test_a_database_is_opened_by_its_path(plugin, untrained, folder, tmp_path):
    with FlorenceRAG.open(tmp_path / "photos.db", untrained, ocr="never") as rag:
        rag.add(folder)
    with FlorenceRAG.open(tmp_path / "photos.db") as rag:
        written = plugin.retrieve(retriever_of(plugin, rag, k=3), "a red wall")
    retriever = plugin.Retriever.from_db(str(tmp_path / "photos.db"), k=3)
    try:
        assert plugin.retrieve(retriever, "a red wall") == written
    finally:
        retriever.rag.close()


def test_a_database_that_does_not_exist_is_not_created(plugin, untrained, tmp_path):
    with pytest.raises(StoreError):
        plugin.Retriever.from_db(str(tmp_path / "foto.db"), untrained)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("query", ["", "   "])
def test_an_empty_query_is_an_error(plugin, rag, query):
    with pytest.raises(InputError, match="the query is empty; describe what to find"):
        plugin.retrieve(retriever_of(plugin, rag), query)


def test_a_misspelled_setting_is_an_error(plugin, rag):
    with pytest.raises((ValueError, TypeError)):
        retriever_of(plugin, rag, top_k=5)


async def test_retrieval_leaves_the_loop_free(plugin, slow_rag, gate):
    found = await gate.open_while(plugin.aretrieve(retriever_of(plugin, slow_rag, k=2), "red"))
    assert len(found) == 2


# Embeddings


def test_embeddings_are_those_of_the_embedder(plugin, folder):
    embedder = ColorEmbedder()
    embeddings = plugin.Embeddings(embedder=embedder)
    texts = ["red", "blue and green", "nothing"]
    assert np.allclose(plugin.embed_texts(embeddings, texts), embedder.embed_texts(texts))


def test_images_and_texts_share_one_space(plugin, folder, blue_vector):
    embeddings = plugin.Embeddings(embedder=ColorEmbedder())
    rows = plugin.embed_images(embeddings, [folder / "blue.png", folder / "red.png"])
    assert rows[0] == pytest.approx(blue_vector)
    assert rows[1] != pytest.approx(blue_vector)


def test_the_embedder_of_an_index_is_used(plugin, rag, blue_vector):
    assert plugin.embed_texts(plugin.Embeddings(rag=rag), ["red", "blue"])[1] == pytest.approx(blue_vector)


def test_a_model_is_named_without_an_index(plugin, untrained, folder):
    embeddings = plugin.Embeddings(untrained)
    rows = [
        *plugin.embed_texts(embeddings, ["a red wall", "a red wall"]),
        *plugin.embed_images(embeddings, [folder / "red.png"]),
    ]
    assert rows[0] == rows[1] != rows[2]
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


async def test_embedding_leaves_the_loop_free(plugin, slow_embedder, gate, folder, blue_vector):
    embeddings = plugin.Embeddings(embedder=slow_embedder)
    rows = await gate.open_while(plugin.aembed(embeddings, "blue", folder / "blue.png"))
    assert rows[0] == pytest.approx(blue_vector) and rows[1] == pytest.approx(blue_vector)


# Tools


def test_tools_have_the_names_prompts_and_arguments_of_the_core(plugin, rag):
    tools = plugin.tools(rag)
    assert list(tools) == [
        "search_images",
        "ask_image",
        "find_similar",
        "classify_image",
        "tag_image",
        "recommend",
        "find_video_moment",
        "verify_claim",
    ]
    ask = plugin.schema(tools["ask_image"])
    assert ask["name"] == "ask_image"
    assert ask["description"].startswith("Ask one question about one image")
    assert ask["parameters"]["required"] == ["image", "question"]
    assert ask["parameters"]["properties"]["image"]["type"] == "string"
    assert "id" in ask["parameters"]["properties"]["image"]["description"]
    search = plugin.schema(tools["search_images"])
    assert search["parameters"]["required"] == ["query"]
    assert search["parameters"]["properties"]["k"]["type"] == "integer"
    assert search["parameters"]["properties"]["k"]["description"].endswith("5 by default.")
    assert search["parameters"]["properties"]["kinds"]["items"]["enum"] == ["image", "page", "clip", "text"]


STRICT_CALLS = {
    "search_images": {"query": "red", "k": 0, "kinds": [], "filter": "", "like": [], "unlike": [""]},
    "find_similar": {"image": "{id}", "k": 0, "kinds": [""]},
    "classify_image": {"image": "{id}", "labels": ["red", "blue"], "classifier": ""},
    "tag_image": {"image": "{id}", "labels": ["red", "blue", ""]},
    "recommend": {"like": ["{id}"], "dislike": [], "seen": [], "k": 0, "kinds": [], "filter": "null"},
    "find_video_moment": {"query": "red", "k": 0, "video": ""},
    "ask_image": {"image": "{id}", "question": "What color is it?"},
    "verify_claim": {"claim": "The wall is red.", "ids": ["{id}"]},
}


def test_a_strict_schema_requires_all_arguments_and_may_be_filled_with_nothing(plugin, rag):
    tools = plugin.strict_tools(rag)
    (red,) = [hit.id for hit in rag.search("red", kinds={"image"}, k=1)]
    assert set(tools) == set(STRICT_CALLS)
    for name, tool in tools.items():
        parameters = plugin.strict_schema(tool)["parameters"]
        assert set(parameters["required"]) == set(parameters["properties"]) == set(STRICT_CALLS[name])
        assert not any("default" in each for each in parameters["properties"].values())
        arguments = {
            key: json.loads(json.dumps(value).replace("{id}", red)) for key, value in STRICT_CALLS[name].items()
        }
        assert not plugin.call(tool, **arguments).is_error


def test_a_search_then_a_question(plugin, rag):
    tools = plugin.tools(rag)
    found = plugin.call(tools["search_images"], query="a green and yellow wall", kinds=["image"])
    chunk_id = found.artifact["hits"][0]["id"]
    assert chunk_id in found.text
    answer = plugin.call(tools["ask_image"], image=chunk_id, question="What color is it?")
    assert answer.text.startswith('"green" (confidence 0.6')
    assert answer.artifact["answer"] == "green"
    assert answer.artifact["citations"][0]["id"] == chunk_id
    assert answer.artifact["citations"][0]["source"].endswith("green-green-yellow.png")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ask_image", {"image": "0" * 32, "question": "?"}, "no chunk has the id"),
        ("ask_image", {"image": "/etc/passwd", "question": "?"}, "is not an id"),
        ("ask_image", {"image": {"id": 1}, "question": "?"}, "image must be of type string"),
        ("ask_image", {"image": "0" * 32}, "question"),
        ("ask_image", {"image": "0" * 32, "question": "?", "zoom": 2}, "zoom"),
        ("search_images", {"query": ""}, "query is empty"),
        ("search_images", {"query": "red", "k": 21}, "k is 21"),
        ("search_images", {"query": "red", "k": 10_000}, "k is 10000"),
        ("search_images", {"query": "red", "k": "five"}, "k must be of type integer"),
        ("search_images", {"query": "red", "kinds": ["photo"]}, "unknown kind 'photo'"),
        ("search_images", {"query": {"text": "red"}}, "query must be of type string"),
        ("search_images", {"query": "red", "filter": "city = Rome"}, "is not a JSON object"),
        ("search_images", {"query": "red", "filter": {"year": {"$near": 3}}}, '["$near"] is not an operator'),
        ("ask_image", {"image": "0" * 32, "question": " "}, "question is empty"),
        ("ask_image", {"image": "http://127.0.0.1/a.png", "question": "?"}, "URLs are not fetched"),
        ("ask_image", {"image": "../notes.txt", "question": "?"}, "is not an id"),
        ("ask_image", {"image": "data:image/png;base64,AAAA", "question": "?"}, "is not an image"),
        ("find_similar", {"image": "0" * 32, "k": 21}, "k is 21"),
        ("find_similar", {"image": "no such id"}, "is not an id"),
        ("classify_image", {"image": "0" * 32, "labels": ["red", "blue"]}, "no chunk has the id"),
        ("tag_image", {"image": "0" * 32, "labels": ["red", "blue"]}, "no chunk has the id"),
        ("recommend", {"like": []}, "nothing to go by"),
        ("recommend", {"like": ["0" * 32]}, "no chunk has the id"),
        ("recommend", {"like": ["red"], "dislike": ["red"]}, "both liked and disliked"),
        ("classify_image", {"image": "0" * 32, "labels": ["red"]}, "fewer than two"),
        ("find_video_moment", {"query": "red", "k": 10_000}, "k is 10000"),
        ("find_video_moment", {"query": "red", "video": "no such id"}, "is not the id of a clip"),
    ],
)
def test_a_bad_call_is_answered_and_not_raised(plugin, rag, name, arguments, message):
    called = plugin.call(plugin.tools(rag)[name], **arguments)
    assert called.is_error
    assert called.text.startswith(f"{name} failed: ")
    assert message in called.text
    assert "\n" not in called.text


def test_paths_need_a_folder_that_was_opened(plugin, rag, folder):
    arguments = {"image": "blue.png", "question": "What color?"}
    assert plugin.call(plugin.tools(rag)["ask_image"], **arguments).is_error
    opened = plugin.call(plugin.tools(rag, allow_paths=folder)["ask_image"], **arguments)
    assert opened.artifact["answer"] == "blue"


@pytest.mark.parametrize("name", ["notes.txt", "missing.png", "../", "a/../../blue.png"])
def test_a_file_of_the_allowed_folder_that_is_no_image_is_an_error(plugin, rag, folder, name):
    called = plugin.call(plugin.tools(rag, allow_paths=folder)["ask_image"], image=name, question="What color?")
    assert called.is_error and "\n" not in called.text and len(called.text) < 300


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.png", "http://localhost:9/a.png", "http://[::1]/a.png"])
def test_no_private_address_is_reached_even_where_urls_are_allowed(plugin, rag, url):
    called = plugin.call(plugin.tools(rag, allow_urls=True)["ask_image"], image=url, question="What color?")
    assert called.is_error and "is not a public host" in called.text


def test_bytes_are_accepted(plugin, rag, folder):
    image = (folder / "blue.png").read_bytes()
    called = plugin.call(plugin.tools(rag)["ask_image"], image=image, question="What color is it?")
    assert called.artifact["answer"] == "blue"


async def test_tools_leave_the_loop_free(plugin, slow_rag, gate):
    tool = plugin.tools(slow_rag)["search_images"]
    found = await gate.open_while(plugin.acall(tool, query="red", k=1))
    assert len(found.artifact["hits"]) == 1


# One index, both frameworks

QUERIES = ["a red bus", "green next to yellow", "notes", "bus leaves at nine"]


@pytest.mark.parametrize("query", QUERIES)
def test_both_retrieve_the_same(rag, query):
    left, right = LangChain(), LlamaIndex()
    found = left.retrieve(left.Retriever(rag=rag, k=6), query)
    assert found == right.retrieve(right.Retriever(rag=rag, k=6), query)
    assert found


def test_both_retrieve_the_same_for_an_image(rag, folder):
    left, right = LangChain(), LlamaIndex()
    image = folder / "green-green-yellow.png"
    assert left.retrieve(left.Retriever(rag=rag), "", image) == right.retrieve(right.Retriever(rag=rag), "", image)


@pytest.mark.parametrize("query", QUERIES)
def test_the_tools_of_both_answer_the_same(rag, query, monkeypatch):
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0a" * size)  # the marks of fences
    left, right = LangChain(), LlamaIndex()
    found = left.call(left.tools(rag)["search_images"], query=query, k=6)
    assert found == right.call(right.tools(rag)["search_images"], query=query, k=6)
    for hit in found.artifact["hits"]:
        arguments = {"image": hit["id"], "question": "What color is it?"}
        answer = left.call(left.tools(rag)["ask_image"], **arguments)
        assert answer == right.call(right.tools(rag)["ask_image"], **arguments)
        assert answer.is_error == (hit["kind"] == "text")
