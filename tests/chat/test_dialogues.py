"""Dialogues over the demo corpus by florence-tiny, without a language model: the file cited, and the answer."""

import json
import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from florence_rag import FlorenceRAG
from florence_rag.answering.question_detection import is_small_talk
from florence_rag.chat.follow_ups import last_turn_with_results
from florence_rag.chat.prompts import REWRITE
from florence_rag.datasets.demo_corpus import ASSETS, copy_demo_corpus
from florence_rag.models.registry import TINY

DIALOGUES, HELD_OUT = (
    json.loads(Path(__file__).with_name(name).read_text("utf-8"))
    for name in ("dialogues.json", "held_out_dialogues.json")
)
"""Lists of turns: message, pattern of the file cited ("" for any), part of the answer, and image of the message.

The rules were improved on the first list. The second one was written later, and nothing was changed for it.
"""


def cited_file(turn):
    number = next(iter(turn.citations), 1)
    return Path(turn.hits[number - 1].source).name if turn.hits else ""


def is_right(turn, file, answer):
    return (not file or fnmatch(cited_file(turn), file)) and answer.casefold() in turn.answer.answer.casefold()


def test_there_are_enough_dialogues():
    assert len(DIALOGUES) >= 60
    assert all(2 <= len(dialogue) <= 5 for dialogue in DIALOGUES)


@pytest.fixture(scope="module")
def rag(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    copy_demo_corpus(folder / "corpus")
    with FlorenceRAG.open(folder / "demo.db", TINY) as rag:
        rag.add(folder / "corpus")
        yield rag


@pytest.mark.slow
@pytest.mark.parametrize(("dialogues", "least_right"), [(DIALOGUES, 0.92), (HELD_OUT, 0.5)], ids=["all", "held out"])
def test_turns_cite_the_right_file_and_answer_right(rag, monkeypatch, dialogues, least_right):
    ask = cache(rag._questions.ask.__func__)  # many dialogues begin with the same question
    monkeypatch.setattr(rag._questions, "ask", lambda *arguments: ask(rag._questions, *map(_hashable, arguments)))
    turns = [result for dialogue in dialogues for result in run(rag.chat(), dialogue)]
    wrong = [line for is_right, line in turns if not is_right]
    share = 1 - len(wrong) / len(turns)
    print(f"{share:.3f} of {len(turns)} turns are right; wrong are:", *wrong, sep="\n")
    assert share >= least_right, wrong


class Scripted:
    """A chat model that rewrites a follow-up as scripted, names the first result of the turn before, and cites [1]."""

    def __init__(self):
        self.images, self.rewritten = [], ""

    def invoke(self, messages):
        if messages[0]["content"].startswith(REWRITE):
            assert isinstance(messages[1]["content"], str), "it receives no images"
            named = re.findall(r"^   (\[\d+\.1\])", messages[1]["content"], re.MULTILINE)
            return f"{' '.join(named[-1:])} {self.rewritten}"
        assert all(isinstance(message["content"], str) for message in messages[:-1]), "earlier turns are text"
        self.images = [block for block in messages[-1]["content"] if block["type"] == "image"]
        return "It is this one [1]."


@pytest.mark.slow
def test_a_chat_model_decides_what_is_searched_and_gets_the_images_of_the_turn(rag, monkeypatch):
    searched, search = [], rag.retriever.search
    monkeypatch.setattr(rag.retriever, "search", lambda query, *scope: searched.append(query) or search(query, *scope))
    for number, dialogue in enumerate(DIALOGUES):
        model = Scripted()
        chat = rag.chat(model)
        for message, _, _, *rest in dialogue:
            if is_small_talk(message):
                continue
            model.rewritten = f"a standalone text {number} about {message or 'an image'}"
            before = last_turn_with_results(chat.history)
            turn = chat.ask(message, ASSETS / rest[0] if rest else None)
            assert turn.query == (model.rewritten if before else message)
            assert searched[-1].texts == ((turn.query,) if turn.query else ())
            visual = [hit.id for hit in turn.hits if hit.kind != "text"]
            assert list(turn.images) == visual[: 4 - bool(rest)]
            assert len(model.images) == len(turn.images) + bool(rest)
            if before and before.hits:
                assert turn.hits[0].id == before.hits[0].id, "what the model names is opened again"
            assert list(turn.citations) == [1]


def run(chat, dialogue):
    """Yield whether each turn is right, and a line about it."""
    for message, file, answer, *rest in dialogue:
        turn = chat.ask(message, ASSETS / rest[0] if rest else None)
        line = f"{message!r}: {turn.answer.answer!r:.80} from {cited_file(turn)}, expected {answer!r} from {file!r}"
        yield is_right(turn, file, answer), line


def _hashable(argument):
    if isinstance(argument, dict):
        return _Filter(argument)
    return tuple(argument) if isinstance(argument, list) else argument


class _Filter(dict):
    def __hash__(self):
        return hash(str(self))
