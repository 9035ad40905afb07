"""Every door for texts answers every bad value with a result or with one line, and doors of one kind with the same."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from PIL import Image

import langchain_florence as lc
import llama_index_florence as li
from florence_rag import FlorenceRAG, InputError
from florence_rag.text_arguments import (
    MAX_TEXT_BYTES,
    check_query_text,
    check_question,
    check_text,
    check_texts,
    clean,
    to_path,
)
from florence_rag.tools import tools_for


@given(st.text())
def test_clean_text_is_valid_and_keeps_what_was_valid(text):
    cleaned = clean(text)
    cleaned.encode()
    assert len(cleaned) == len(text)
    assert all(new in (old, "\ufffd") for new, old in zip(cleaned, text, strict=True))


def test_only_a_known_user_has_a_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    names = ("~/a.jpg", "~no-such-user/a.jpg", "~\0", "a~")
    assert [str(to_path(name)) for name in names] == ["/home/me/a.jpg", "~no-such-user/a.jpg", "~\0", "a~"]


def test_a_surrogate_pair_becomes_its_character_and_a_lone_half_the_replacement():
    assert clean("\ud83d\ude00 \ud83d") == "😀 \ufffd"


class Name(str):
    """A string that is not a plain one."""

    def __str__(self):
        return "other"


@pytest.mark.parametrize("value", [Name(" red "), np.str_("red"), "red\n"])
def test_any_string_becomes_a_plain_one(value):
    text = check_text(value, "query", "give one")
    assert (type(text), text) == (str, "red")


def test_a_text_is_stripped_only_if_it_may_not_be_empty():
    assert check_text(" ", "text") == " "
    assert check_texts(("a", "\ud800"), "text") == ["a", "\ufffd"]
    with pytest.raises(InputError, match=f"has {MAX_TEXT_BYTES + 1} bytes; allowed are {MAX_TEXT_BYTES}"):
        check_text("x" * (MAX_TEXT_BYTES + 1), "text")
    with pytest.raises(InputError, match="give a list of texts"):
        check_texts("abc", "id")


def test_questions_and_queries_are_stripped_and_not_empty():
    assert check_question(" What is it?\n") == "What is it?"
    with pytest.raises(InputError, match="the question is empty; ask something about the image"):
        check_question(" \n")
    with pytest.raises(InputError, match="the query is empty; describe what to find"):
        check_query_text("\u200b")


@pytest.fixture(scope="module")
def rag(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doors")
    Image.new("RGB", (60, 40), (220, 20, 20)).save(folder / "a.png")
    with FlorenceRAG.open(folder / "x.db", "florence-tiny", ocr="never") as rag:
        rag.add(folder)
        yield rag


def call_tool(rag, name, **arguments):
    result = next(tool for tool in tools_for(rag) if tool.name == name)(**arguments)
    if result.is_error:
        raise InputError(result.text.partition(" failed: ")[2])
    return result


def image_id(rag):
    return next(rag.index.find(kinds={"image"})).id


QUERY = {
    "rag.search": lambda rag, value: rag.search(value),
    "rag.find_moments": lambda rag, value: rag.find_moments(value),
    "retriever.embed_query": lambda rag, value: rag.retriever.embed_query(value),
    "search_images": lambda rag, value: call_tool(rag, "search_images", query=value),
    "langchain store": lambda rag, value: lc.FlorenceVectorStore(rag).similarity_search(value),
    "langchain mmr": lambda rag, value: lc.FlorenceVectorStore(rag).max_marginal_relevance_search(value),
    "langchain retriever": lambda rag, value: lc.FlorenceRetriever(rag=rag).invoke(value),
    "llama_index store": lambda rag, value: li.FlorenceVectorStore(rag).query(
        VectorStoreQuery(query_str=value, mode=VectorStoreQueryMode.TEXT_SEARCH)
    ),
    "llama_index retriever": lambda rag, value: li.FlorenceRetriever(rag).retrieve(value),
}
QUESTION = {
    "rag.ask": lambda rag, value: rag.ask(value),
    "rag.ask image": lambda rag, value: rag.ask(value, image=image_id(rag)),
    "rag.ask_image": lambda rag, value: rag.ask_image(image_id(rag), value),
    "ask_image": lambda rag, value: call_tool(rag, "ask_image", image=image_id(rag), question=value),
}
OTHERS = {
    "recommend": lambda rag, value: rag.recommend([value]),
    "labels": lambda rag, value: rag.classify([image_id(rag)], labels=[value, "blue"]),
    "tags": lambda rag, value: rag.set_tags({image_id(rag): [value]}),
    "tagged id": lambda rag, value: rag.set_tags({value: ["x"]}),
    "get": lambda rag, value: rag.get([value]),
    "kinds": lambda rag, value: rag.search("red", kinds=value),
    "filter": lambda rag, value: rag.search("red", filter=value),
    "filter key": lambda rag, value: rag.search("red", filter={value: 1}),
    "filter value": lambda rag, value: rag.search("red", filter={"metadata.a": value}),
    "text": lambda rag, value: rag.items.upsert_texts([value]),
    "id": lambda rag, value: rag.items.upsert_texts(["x"], ids=[value]),
    "metadata": lambda rag, value: rag.items.upsert_texts(["x"], metadatas=[{"a": value}]),
    "deleted id": lambda rag, value: rag.items.delete([value]),
    "image": lambda rag, value: rag.search(image=value),
    "path": lambda rag, value: rag.add(value),
    "langchain texts": lambda rag, value: lc.FlorenceVectorStore(rag).add_texts([value]),
    "langchain metadata": lambda rag, value: lc.FlorenceVectorStore(rag).add_documents(
        [Document("x", metadata={"a": value})]
    ),
    "langchain ids": lambda rag, value: lc.FlorenceVectorStore(rag).get_by_ids([value]),
    "langchain embeddings": lambda rag, value: lc.FlorenceEmbeddings(rag=rag).embed_documents([value]),
    "langchain query": lambda rag, value: lc.FlorenceEmbeddings(rag=rag).embed_query(value),
    "llama_index embedding": lambda rag, value: li.FlorenceEmbedding(rag=rag).get_text_embedding(value),
    "tool image": lambda rag, value: call_tool(rag, "ask_image", image=value, question="What is it?"),
    "tool labels": lambda rag, value: call_tool(rag, "classify_image", image=image_id(rag), labels=[value, "blue"]),
    "tool filter": lambda rag, value: call_tool(rag, "search_images", query="red", filter=value),
}
TEXTS = {
    "surrogate": "is it red \udce9",
    "NUL": "is it red\0",
    "empty": "",
    "spaces": " \n\u3000\u200b",
    "subclass": Name("is it red"),
    "numpy": np.str_("is it red"),
    "2 MB": "red " * 500_000,
}
NO_TEXTS = {"None": None, "int": 7, "bytes": b"red", "list": ["red"], "bool": True}
REFUSED = {"empty", "spaces", "2 MB", "int", "bytes", "list", "bool"}


def outcome(door, rag, value):
    """Return the message of an InputError, or "" for a result; any other exception fails the test."""
    try:
        door(rag, value)
    except InputError as error:
        message = str(error)
        assert "\n" not in message and 10 < len(message) < 1500
        return message
    return ""


@pytest.mark.parametrize("value", {**TEXTS, **NO_TEXTS})
@pytest.mark.parametrize("doors", [QUERY, QUESTION], ids=["query", "question"])
def test_doors_of_one_kind_answer_alike(rag, doors, value):
    values = {**TEXTS, **NO_TEXTS}
    if value == "None" or value in NO_TEXTS:  # frameworks check types themselves; None means no text
        doors = {name: door for name, door in doors.items() if "langchain retr" not in name and "llama" not in name}
    if value != "None":
        answers = {name: outcome(door, rag, values[value]) for name, door in doors.items()}
        # Agents have smaller limits and the types of JSON, and the arguments of Python have other names.
        same = {re.sub(r".* must be .*, got", "wrong type:", each) for each in answers.values()}
        assert len(same) == 1 or value == "2 MB", answers
        assert {bool(each) for each in same} == {value in REFUSED}


@pytest.mark.parametrize("value", {**TEXTS, **NO_TEXTS})
@pytest.mark.parametrize("door", OTHERS)
def test_a_bad_value_is_one_line_or_a_result(rag, door, value):
    if value in NO_TEXTS and door in ("filter key", "tagged id") and value == "list":
        return  # Python itself refuses a list as a key
    outcome(OTHERS[door], rag, {**TEXTS, **NO_TEXTS}[value])


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "5", None, 10**9])
def test_a_bad_count_is_one_line_at_every_door(rag, k):
    doors = [
        lambda rag, k: rag.search("red", k=k),
        lambda rag, k: rag.find_moments("red", k),
        lambda rag, k: rag.ask("What is it?", k=k),
        lambda rag, k: rag.recommend(["red"], k=k),
        lambda rag, k: rag.retriever.search_by_vector(np.ones(128), k),
        lambda rag, k: lc.FlorenceVectorStore(rag).similarity_search("red", k),
    ]
    (message,) = {outcome(door, rag, k) for door in doors}
    assert message.startswith("k must be")


def test_a_count_of_numpy_is_a_count(rag):
    assert len(rag.search("red", k=np.int64(1))) == 1


def test_an_empty_path_is_not_the_current_folder(rag):
    for path in ("", " "):
        with pytest.raises(InputError, match="is not a path"):
            rag.add(path)


def run_cli(folder, *arguments):
    command = [sys.executable, "-m", "florence_rag", *arguments, "--db", "x.db"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True)


@pytest.mark.slow
def test_a_console_that_lacks_characters_shows_escapes(tmp_path):
    (tmp_path / "夜.txt").write_text("夜景 café", "utf-8")
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("a name that is not UTF-8")
    indexed = run_cli(tmp_path, "index", ".", "--ocr", "never", "--model", "florence-tiny")
    assert indexed.returncode == 0 and b"caf\\udce9.txt" in indexed.stdout, indexed.stderr
    shown = run_cli(tmp_path, "search", "夜景")
    assert shown.returncode == 0 and b"\\u591c" in shown.stdout, shown.stderr
    missing = run_cli(tmp_path, "index", b"caf\xe9-missing.txt")
    assert missing.returncode == 1 and b"does not exist" in missing.stderr and b"Traceback" not in missing.stderr
    assert run_cli(tmp_path, "search", b"caf\xe9", "--json").stdout.startswith(b'{"hits"')
