"""Dialogues over the demo corpus by florence-tiny, without a language model: the file cited, and the answer."""

import json
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from florence_rag import FlorenceRAG
from florence_rag.datasets.demo_corpus import ASSETS, copy_demo_corpus
from florence_rag.models.registry import TINY

DIALOGUES = json.loads(Path(__file__).with_name("dialogues.json").read_text("utf-8"))
"""Lists of turns: message, pattern of the file cited ("" for any), part of the answer, and image of the message."""

LEAST_RIGHT = 0.92


def cited_file(turn):
    number = next(iter(turn.citations), 1)
    return Path(turn.hits[number - 1].source).name if turn.hits else ""


def is_right(turn, file, answer):
    return (not file or fnmatch(cited_file(turn), file)) and answer.casefold() in turn.answer.answer.casefold()


def test_there_are_enough_dialogues():
    assert len(DIALOGUES) >= 60
    assert all(2 <= len(dialogue) <= 5 for dialogue in DIALOGUES)


@pytest.mark.slow
def test_turns_cite_the_right_file_and_answer_right(tmp_path, monkeypatch):
    copy_demo_corpus(tmp_path / "corpus")
    with FlorenceRAG.open(tmp_path / "demo.db", TINY) as rag:
        rag.add(tmp_path / "corpus")
        ask = cache(rag._questions.ask.__func__)  # many dialogues begin with the same question
        monkeypatch.setattr(rag._questions, "ask", lambda *arguments: ask(rag._questions, *map(_hashable, arguments)))
        turns = [result for dialogue in DIALOGUES for result in run(rag.chat(), dialogue)]
    wrong = [line for is_right, line in turns if not is_right]
    share = 1 - len(wrong) / len(turns)
    print(f"{share:.3f} of {len(turns)} turns are right; wrong are:", *wrong, sep="\n")
    assert share >= LEAST_RIGHT, wrong


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
