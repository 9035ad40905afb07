"""Two tenants of one collection: nothing that one of them calls reads, changes or deletes what the other one has.

The lists below name every public method, tool, class of the plug-ins and command. A new one fails the test until it is
in its list, with a call that could leak.
"""

import dataclasses
import inspect
import json

import pytest
from langchain_core.documents import Document
from llama_index.core.base.response.schema import Response
from llama_index.core.vector_stores import VectorStoreQuery
from PIL import Image
from typer.testing import CliRunner

import langchain_florence
import llama_index_florence
from florence_rag import FlorenceRAG, check_database, repair_database
from florence_rag.cli.app import COMMANDS, app
from florence_rag.context import Models
from florence_rag.errors import InputError, StoreMismatchError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index.tenants import Tenant, folder_name, split_tenant, with_tenant
from florence_rag.ingest.items import ItemStore
from florence_rag.retrieval.retriever import Retriever
from florence_rag.testing import ColorEmbedder, ColorVQA, ScriptedReader, color_frame
from florence_rag.tools import tools_for
from tests.cli.stand_ins import use_color_models
from tests.databases import new_database

SECRET = "canary"
"""In all texts, names, ids, tags and answers of the other tenant, and in nothing of the first one."""


def open_rag(uri, tenant, folder):
    embedder = ColorEmbedder()
    index = MilvusIndex.open(uri, embedder.info, collection=with_tenant("florence", tenant))
    models = Models.of(embedder, vqa=ColorVQA(), ocr_reader=ScriptedReader({}))
    return FlorenceRAG(index, models, images=folder / folder_name(index.info().collection), cache_answers=True)


def fill(rag, folder, word):
    """Index files, items, tags and answers that contain a word."""
    folder.mkdir(exist_ok=True)
    Image.fromarray(color_frame("red")).save(folder / f"{word}.png")
    (folder / f"{word}.txt").write_text(f"The red {word} bus leaves at nine.")
    (folder / f"{word}-broken.png").write_text(word)
    rag.add(folder)
    put_items(rag, word)


def put_items(rag, word):
    rag.items.upsert_texts([f"a red {word}"], ids=["shared"], metadatas=[{"note": word, "city": "Rome"}])
    rag.items.upsert_texts([f"a blue {word}"], ids=[f"{word}-id"])
    rag.items.upsert_images([color_frame("blue")], ids=["picture"], captions=[f"a blue {word} wall"])
    rag.set_tags({"picture": [word]})
    rag.ask(f"What color is the {word}?", image="picture")


def state_of(rag):
    """Return all that a tenant has."""
    hits = sorted((hit.id, hit.content, str(dict(hit.metadata))) for hit in rag.index.find())
    ids = [id for id, _, _ in hits]
    return hits, rag.index.vectors(ids).tolist(), sorted(rag.index.sources()), rag.index.answer_store().count()


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Two open tenants of one collection, the second of which has the secret."""
    folder = tmp_path_factory.mktemp("tenants")
    with (
        new_database(folder) as uri,
        open_rag(uri, "acme", folder) as acme,
        open_rag(uri, "zenith", folder) as other,
    ):
        fill(acme, folder / "acme", "lorry")
        fill(other, folder / "other", SECRET)
        yield acme, other, folder


@pytest.fixture
def tenants(opened):
    acme, other, _ = opened
    put_items(acme, "lorry")
    return acme, other


def show(value):
    """Return all of a result as text."""
    if inspect.isgenerator(value) or isinstance(value, map | filter):
        value = list(value)
    return repr(value) + json.dumps(value, default=str)


FACADE = {
    "add": lambda rag, tmp: rag.add(tmp / "acme", retry=True),
    "add_dataset": None,  # calls add
    "ask": lambda rag, tmp: [rag.ask(f"When does the red {SECRET} bus leave?"), rag.ask("red", min_relevance=None)],
    "ask_image": lambda rag, tmp: rag.ask_image("picture", f"What color is the {SECRET}?"),
    "chat": lambda rag, tmp: rag.chat().ask(f"red {SECRET}"),
    "classify": lambda rag, tmp: rag.classify(labels=["red", "blue"]),
    "clear_answers": lambda rag, tmp: rag.clear_answers(),
    "close": None,
    "describe": None,  # resolves images as ask_image does
    "find_moments": lambda rag, tmp: rag.find_moments(f"red {SECRET}"),
    "frames": lambda rag, tmp: rag.frames(rag.get(["picture"])[0]).__len__(),
    "get": lambda rag, tmp: rag.get(["shared", f"{SECRET}-id", Tenant("zenith").mark + "shared"]),
    "info": lambda rag, tmp: rag.info(),
    "open": None,
    "recommend": lambda rag, tmp: rag.recommend(["shared", "picture"], k=50),
    "reembed": None,  # is refused, below
    "retry_failures": lambda rag, tmp: rag.retry_failures(),
    "search": lambda rag, tmp: [rag.search(f"red {SECRET}", k=50), rag.search(image=color_frame("red"), k=50)],
    "segment": None,  # resolves images as ask_image does
    "set_tags": lambda rag, tmp: rag.set_tags({"shared": ["mine"]}),
    "tag": lambda rag, tmp: rag.tag(["red", "blue"], apply=True),
    "verify": lambda rag, tmp: rag.verify("The red bus leaves at nine.", ["shared"]),
    "watch": None,  # calls add
}
ITEMS = {
    "delete": lambda items: items.delete(["shared", f"{SECRET}-id"]),
    "ids": lambda items: items.ids(),
    "upsert_chunks": None,  # as the others
    "upsert_images": lambda items: items.upsert_images([color_frame("green")], ids=["picture"]),
    "upsert_texts": lambda items: items.upsert_texts(["mine"], ids=["shared"]),
}
RETRIEVER = {
    "calibrations": None,  # of the model; an index of tenants stores none, below
    "embed_query": None,
    "find_moments": lambda each: each.find_moments(SECRET, 50),
    "heat_map": None,  # of a hit that was found
    "is_calibrated": None,
    "min_relevance": None,
    "search": lambda each: each.search(f"red {SECRET}", k=50),
    "search_by_vector": lambda each: each.search_by_vector(each.embed_query("red blue"), k=50),
    "search_mmr": lambda each: each.search_mmr(each.embed_query("red blue"), k=50),
}
TOOLS = {
    "ask_image": {"image": "picture", "question": f"What color is the {SECRET}?"},
    "classify_image": {"image": "picture", "labels": ["red", "blue"]},
    "describe_image": None,  # needs a captioner; resolves images as ask_image does
    "detect_objects": None,  # needs a detector
    "find_similar": {"image": "picture", "k": 20},
    "find_video_moment": {"query": f"red {SECRET}"},
    "read_text": {"image": "picture"},
    "recommend": {"like": ["shared"], "k": 20},
    "search_images": {"query": f"red {SECRET}", "k": 20},
    "tag_image": {"image": "picture", "labels": ["red", "blue"]},
    "verify_claim": {"claim": "The red bus leaves at nine.", "ids": ["shared"]},
}


def public(cls):
    return {
        name
        for name, value in vars(cls).items()
        if not name.startswith("_") and (callable(value) or isinstance(value, property | classmethod))
    }


@pytest.mark.parametrize(("cls", "calls"), [(FlorenceRAG, FACADE), (ItemStore, ITEMS), (Retriever, RETRIEVER)])
def test_every_public_method_is_listed(cls, calls):
    assert public(cls) == calls.keys()


def test_no_method_reads_or_changes_what_another_tenant_has(tenants, opened):
    acme, other, folder = opened
    before = state_of(other)
    assert SECRET in show(before) and SECRET in show(other.search("red", k=50))
    calls = {
        **{name: (lambda call=call: call(acme, folder)) for name, call in FACADE.items() if call},
        **{f"retriever.{name}": (lambda call=call: call(acme.retriever)) for name, call in RETRIEVER.items() if call},
        "find": lambda: acme.index.find(),
        "failures": lambda: acme.index.failures(),
        "rejected": lambda: acme.index.rejected(),
        **{f"items.{name}": (lambda call=call: call(acme.items)) for name, call in ITEMS.items() if call},
    }
    for name, call in calls.items():
        shown = show(call())
        if name not in ("ask", "ask_image", "chat", "verify"):  # which repeat the question
            assert SECRET not in shown, name
        assert "/other/" not in shown, name
        assert state_of(other) == before, name
    assert other.frames(other.get(["picture"])[0])[0][0, 0].tolist() == [0, 0, 255]


def test_no_answer_comes_from_the_cache_of_another_tenant(tenants):
    acme, other = tenants
    question = "What color is the wall?"
    assert other.ask(question, image="picture").citations[0].cached_from == ""
    assert acme.ask(question, image="picture").citations[0].cached_from == ""
    assert "cached answer" in acme.ask(question, image="picture").citations[0].cached_from
    assert acme.clear_answers()
    assert "cached answer" in other.ask(question, image="picture").citations[0].cached_from


def test_no_tool_tells_of_another_tenant(tenants):
    acme, other = tenants
    (foreign,) = other.index.find(filter={"id": f"{SECRET}-id"})
    tools = {tool.name: tool for tool in tools_for(acme)}
    assert tools.keys() == {name for name, arguments in TOOLS.items() if arguments}
    before = state_of(other)
    for name, tool in tools.items():
        result = tool(**TOOLS[name])
        assert not result.is_error, result.text
        found = result.text.replace(f"red {SECRET}", "") + show(result.artifact)
        assert f"{SECRET}-id" not in found and "/other/" not in found, name
        for key in {"image", "video"} & TOOLS[name].keys():
            assert tool(**{**TOOLS[name], key: foreign.id}).is_error
    assert state_of(other) == before


def test_no_expression_widens_what_a_tenant_reads(tenants):
    acme, _ = tenants
    for expression in ("1 == 1", 'kind == "text"', "1 == 1) or (1 == 1", 'kind in ["text"] or kind in ["image"]'):
        try:
            found = [*acme.search("red", k=50, filter=expression), *acme.index.find(filter=expression)]
        except InputError:
            continue
        assert SECRET not in show(found)


def test_filters_on_ids_are_those_of_the_tenant(tenants):
    acme, other = tenants
    assert [hit.content for hit in acme.index.find(filter={"id": "shared"})] == ["a red lorry"]
    assert [hit.content for hit in other.index.find(filter={"id": ["shared"]})] == [f"a red {SECRET}"]
    assert {hit.id for hit in acme.index.find(filter={"id": {"$gte": "p"}}) if hit.is_item} == {"picture", "shared"}
    with pytest.raises(InputError, match="use a mapping"):
        acme.search("red", filter='id == "shared"')


LANGCHAIN = {
    "FlorenceDocumentIndex": lambda rag: langchain_florence.FlorenceDocumentIndex(
        store=langchain_florence.FlorenceVectorStore(rag)
    ).get(["shared", f"{SECRET}-id"]),
    "FlorenceRetriever": lambda rag: langchain_florence.FlorenceRetriever(rag, k=50).invoke("red blue"),
    "FlorenceSearchTool": lambda rag: langchain_florence.FlorenceSearchTool(rag=rag).invoke({"query": "red"}),
    "FlorenceVectorStore": lambda rag: (
        (store := langchain_florence.FlorenceVectorStore(rag))
        and [
            store.similarity_search("red blue", k=50),
            store.get_by_ids([f"{SECRET}-id"]),
            store.max_marginal_relevance_search("red", k=50, fetch_k=50),
            store.similarity_search_by_image(color_frame("blue"), k=50),
            store.delete([f"{SECRET}-id"]),
        ]
    ),
    "FlorenceVerifier": lambda rag: langchain_florence.FlorenceVerifier(rag).invoke(
        {"answer": "The red bus leaves at nine.", "context": [Document("", id="shared")]}
    ),
    "VQATool": lambda rag: langchain_florence.VQATool(rag=rag).invoke({"image": "picture", "question": "What color?"}),
    "florence_tools": lambda rag: [tool.name for tool in langchain_florence.florence_tools(rag)],
}
LLAMA_INDEX = {
    "FlorenceChatEngine": lambda rag: llama_index_florence.FlorenceChatEngine(rag).chat("Which bus is red?"),
    "FlorenceQueryEngine": lambda rag: llama_index_florence.FlorenceQueryEngine(rag).query("Which bus is red?"),
    "FlorenceRetriever": lambda rag: llama_index_florence.FlorenceRetriever(rag, k=50).retrieve("red blue"),
    "FlorenceSearchTool": lambda rag: llama_index_florence.FlorenceSearchTool(rag).call(query="red"),
    "FlorenceToolSpec": lambda rag: [
        tool.metadata.name for tool in llama_index_florence.FlorenceToolSpec(rag).to_tool_list()
    ],
    "FlorenceVectorStore": lambda rag: (
        (store := llama_index_florence.FlorenceVectorStore(rag))
        and [
            store.query(VectorStoreQuery(rag.models.embedder.embed_texts(["red"])[0].tolist(), similarity_top_k=50)),
            store.get_nodes([f"{SECRET}-id"]),
            store.get_nodes(),
            store.delete_nodes([f"{SECRET}-id"]),
            store.clear(),
        ]
    ),
    "FlorenceVerifier": lambda rag: llama_index_florence.FlorenceVerifier(rag).evaluate_response(
        "When?",
        Response(
            "The red bus leaves at nine.", source_nodes=llama_index_florence.FlorenceRetriever(rag).retrieve("red")
        ),
    ),
    "VQATool": lambda rag: llama_index_florence.VQATool(rag).call(image="picture", question="What color?"),
}
WITHOUT_INDEX = {
    "langchain_florence": {"FlorenceEmbeddings", "FlorenceImages", "FlorenceLoader", "FlorenceTool", "ImagePlacer"}
    | {"LangChainEmbedder", "cited_documents", "create_rag_agent", "create_rag_chain", "documents_to_content"}
    | {"image_mode_for", "place_images"},
    "llama_index_florence": {"FlorenceEmbedding", "FlorenceReader", "FlorenceRerank", "FlorenceTool", "ImageAgent"}
    | {"image_mode_for"},
}
"""They read no index, or only through the classes above."""


@pytest.mark.parametrize(("plugin", "calls"), [(langchain_florence, LANGCHAIN), (llama_index_florence, LLAMA_INDEX)])
def test_no_class_of_a_plugin_reads_or_changes_what_another_tenant_has(tenants, plugin, calls):
    assert {*plugin.__all__} == calls.keys() | WITHOUT_INDEX[plugin.__name__]
    acme, other = tenants
    before = state_of(other)
    for name, call in calls.items():
        shown = show(call(acme))
        assert SECRET not in shown and "/other/" not in shown, name
        assert state_of(other) == before, name


COMMANDS_OF_DATABASES = {
    "ask": ["ask", "What is red?"],
    "check": ["check"],
    "classify": ["classify", "apply", "--labels", "red,blue"],
    "clear-answers": ["clear-answers"],
    "delete": ["delete", "{tmp}/acme", "shared", "--yes"],
    "doctor": ["doctor"],
    "eval": None,  # searches; its calibration is refused
    "evalset": None,
    "export": None,  # below
    "failures": ["failures"],
    "import": None,  # below
    "index": ["index", "{tmp}/acme"],
    "info": ["info"],
    "list": ["list"],
    "chat": None,  # searches and answers as `search` and `ask` do
    "mcp": None,  # offers the tools
    "moments": ["moments", "red"],
    "recommend": ["recommend", "red"],
    "reembed": None,  # is refused
    "repair": ["repair", "--dry-run"],
    "search": ["search", "red", "-k", "50"],
    "serve": None,  # offers the tools and the methods
    "tag": ["tag", "--labels", "red,blue"],
    "watch": None,  # as index
}


def takes_a_database(name):
    from florence_rag.cli.app import load_command

    command = load_command(name)
    commands = getattr(command, "commands", {"": command}).values()
    return any(parameter.name == "tenant" for each in commands for parameter in each.params)


@pytest.mark.slow
def test_no_command_prints_or_changes_what_another_tenant_has(tmp_path, monkeypatch):
    use_color_models(monkeypatch)
    db = str(tmp_path / "test.db")
    for tenant, name, word in (("acme", "acme", "lorry"), ("zenith", "other", SECRET)):
        with open_rag(db, tenant, tmp_path / "test.images") as rag:
            fill(rag, tmp_path / name, word)

    def run(*arguments, tenant="acme"):
        scope = ["--tenant", tenant] if tenant else []
        return CliRunner().invoke(app, [*arguments, "--db", db, "--json", *scope])

    assert {name for name in COMMANDS if takes_a_database(name)} == COMMANDS_OF_DATABASES.keys()
    before = run("list", tenant="zenith").stdout
    assert SECRET in before
    for name, arguments in COMMANDS_OF_DATABASES.items():
        if arguments:
            result = run(*(each.format(tmp=tmp_path) for each in arguments))
            assert result.exit_code == 0, (name, result.output)
            assert SECRET not in result.output and "/other/" not in result.output, name
    assert run("list", tenant="zenith").stdout == before
    refused = run("list", tenant=None)
    assert refused.exit_code == 1 and "belongs to tenants; name one" in refused.output
    assert SECRET not in refused.output


@pytest.mark.slow
def test_an_export_holds_one_tenant_and_another_one_can_import_it(tmp_path, monkeypatch):
    use_color_models(monkeypatch)
    db = str(tmp_path / "test.db")
    for tenant, name, word in (("acme", "acme", "lorry"), ("zenith", "other", SECRET)):
        with open_rag(db, tenant, tmp_path / "test.images") as rag:
            fill(rag, tmp_path / name, word)

    def run(*arguments):
        result = CliRunner().invoke(app, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
        return result.output

    run("export", tmp_path / "files", "--db", db, "--tenant", "acme")
    assert not any(SECRET.encode() in file.read_bytes() for file in (tmp_path / "files").rglob("*.*"))
    run("import", tmp_path / "files", "--db", db, "--tenant", "third")
    run("import", tmp_path / "files", "--db", tmp_path / "alone.db")
    with open_rag(db, "acme", tmp_path) as acme, open_rag(db, "third", tmp_path) as third:
        assert [hit[:2] for hit in state_of(third)[0]] == [hit[:2] for hit in state_of(acme)[0]]
    assert "lorry" in run("list", "--db", tmp_path / "alone.db", "--json")


def test_a_database_has_tenants_or_none(tmp_path):
    info = ColorEmbedder.info
    with new_database(tmp_path) as uri:
        MilvusIndex.open(uri, info, collection="mine").close()
        MilvusIndex.open(uri, info, collection="theirs@acme").close()
        with pytest.raises(StoreMismatchError, match="belongs to tenants; name one with tenant=NAME"):
            MilvusIndex.open(uri, info, collection="theirs")
        with pytest.raises(StoreMismatchError, match="was created without tenants, so it has no part of 'acme'"):
            MilvusIndex.open(uri, info, collection="mine@acme")
        MilvusIndex.open(uri, info, collection="mine").close()


def test_a_tenant_cannot_be_calibrated(tenants):
    with pytest.raises(InputError, match="cannot be calibrated in an index of tenants"):
        tenants[0].index.put_calibrations({})


def test_a_tenant_cannot_be_embedded_again(tenants):
    with pytest.raises(InputError, match="would drop the vectors of the other tenants"):
        tenants[0].reembed(ColorEmbedder())


def test_check_and_repair_work_on_one_tenant(tmp_path):
    db = str(tmp_path / "test.db")
    for tenant in ("acme", "zenith"):
        with open_rag(db, tenant, tmp_path / "test.images") as rag:
            rag.items.upsert_texts([f"a red {tenant}"], ids=["shared"])
    report = check_database(db, tenant="acme")
    assert (report.sources, report.rows, report.findings) == (1, 1, ())
    assert repair_database(db, tenant="zenith").steps == ()
    with pytest.raises(StoreMismatchError, match="belongs to tenants"):
        check_database(db)


def test_interrupted_writes_of_a_tenant_are_settled_by_itself(tmp_path):
    db = str(tmp_path / "test.db")
    with open_rag(db, "acme", tmp_path) as acme, open_rag(db, "zenith", tmp_path):
        acme.items.upsert_texts(["a red lorry"], ids=["shared"])
    with open_rag(db, "zenith", tmp_path) as other:
        assert other.items.ids() == [] and other.info().incomplete == ()
    with open_rag(db, "acme", tmp_path) as acme:
        assert acme.items.ids() == ["shared"]


@pytest.mark.parametrize("tenant", ["", " ", "a" * 201, "a\nb", 7])
def test_a_tenant_needs_a_name(tmp_path, tenant):
    with pytest.raises(InputError, match="tenant"):
        FlorenceRAG.open(tmp_path / "test.db", "florence-tiny", tenant=tenant)


def test_any_name_of_a_tenant_is_kept_apart():
    names = ["acme", "ACME", "acme@b", "ä/../x", "日本", "a b", "'; drop", 'x"y']
    assert len({Tenant(name).mark for name in names}) == len(names)
    for name in names:
        collection, tenant = split_tenant(with_tenant("florence", name))
        assert (collection, tenant.name) == ("florence", name)
        assert folder_name(with_tenant("florence", name)) == f"florence.{tenant.mark[:-1]}"
    assert (folder_name("florence"), Tenant().mark, Tenant().restrict("x == 1")) == ("florence", "", "x == 1")
    assert dataclasses.is_dataclass(Tenant)
