import json
from dataclasses import replace

import pytest

from florence_rag.chat import session_file
from florence_rag.chat.session_file import load_turns, save_turns
from florence_rag.chat.turn import Turn
from florence_rag.errors import InputError
from florence_rag.types import Answer, Citation, Hit, Locator

HIT = Hit("a", "clip", "/a.mp4", Locator(start_s=1.0, end_s=2.0), 0.0, text="hello")
TURN = Turn(
    "Who?",
    "Who is it?",
    Answer("Ada [1]", 0.9, (Citation.of(HIT, quote="hello"),), (("Ada", 0.9),)),
    (HIT,),
    images=("a",),
    image="data:image/jpeg;base64,AAAA",
    search_image="data:image/jpeg;base64,BBBB",
    similar_to="a",
    kinds=("clip",),
    source="/a.mp4",
    is_selection=True,
    error="none",
)


class Index:
    def get(self, ids):
        return [HIT for id in ids if id == "a"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "chat.json"
    save_turns(path, [TURN])
    return path


def test_what_is_saved_is_loaded(file):
    assert load_turns(file, Index()) == [TURN]
    assert "/etc" not in file.read_text() and not file.with_name("chat.json.partial").exists()


def test_a_file_of_an_earlier_version_is_loaded(file):
    content = json.loads(file.read_text())
    for name in ("similar_to", "search_image", "source"):
        del content["turns"][0][name]
    file.write_text(json.dumps(content))
    assert load_turns(file, Index()) == [replace(TURN, similar_to="", search_image="", source="")]


def test_an_answer_from_the_cache_is_loaded(tmp_path):
    answer = Answer("Ada [1]", 0.9, (Citation.of(HIT, cached_from="answered before"),))
    save_turns(tmp_path / "x", [Turn("Who?", "Who?", answer, (HIT,))])
    assert load_turns(tmp_path / "x", Index())[0].answer == answer


def test_strange_texts_survive(tmp_path):
    turn = Turn("\x1b[31m \u202e🚌", "", Answer("a\nb", None))
    save_turns(tmp_path / "x", [turn])
    assert load_turns(tmp_path / "x", Index()) == [turn]


def damaged(**changes):
    def change(content):
        content["turns"][0].update(changes)
        return content

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda content: [],
        lambda content: None,
        lambda content: {**content, "florence_rag_chat": 99},
        lambda content: {**content, "turns": {}},
        lambda content: {**content, "turns": [1]},
        lambda content: {**content, "turns": [None]},
        lambda content: {"florence_rag_chat": 1},
        damaged(hits="abc"),
        damaged(hits=[1]),
        damaged(hits=["a"] * 2000),
        damaged(question=5),
        damaged(answer={"answer": "a", "confidence": None, "candidates": [["a", "b", "c"]]}),
        damaged(query=None),
        damaged(question="x" * 10_000_000),
        damaged(image="/etc/passwd"),
        damaged(image=["data:image/jpeg;base64,"]),
        damaged(kinds=["folder"]),
        damaged(kinds=5),
        damaged(similar_to=5),
        damaged(search_image="https://host/a.jpg"),
        damaged(source=["/a.mp4"]),
        damaged(images=[5]),
        damaged(is_selection="yes"),
        damaged(unknown=1),
        damaged(answer=None),
        damaged(answer={}),
        damaged(answer={"answer": "x", "confidence": "high"}),
        damaged(answer={"answer": "x", "confidence": None, "status": "perfect"}),
        damaged(answer={"answer": "x", "confidence": None, "citations": [{}]}),
        damaged(answer={"answer": "x", "confidence": None, "citations": "abc"}),
        damaged(
            answer={"answer": "x", "confidence": None, "citations": [{**TURN.answer.citations[0].to_dict(), "kind": 1}]}
        ),
        damaged(answer={"answer": "x", "confidence": None, "candidates": [1]}),
        damaged(answer={"answer": "x", "confidence": None, "candidates": [[1, "x"]]}),
        damaged(error=["x"]),
    ],
)
def test_a_file_of_another_form_is_one_line(file, change):
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(InputError, match="is not a saved conversation: ") as error:
        load_turns(file, Index())
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b"NaN", b'{"florence_rag_chat": 1e999}'])
def test_other_bytes_are_one_line(file, data):
    file.write_bytes(data)
    with pytest.raises(InputError, match="is not a saved conversation: "):
        load_turns(file, Index())


def test_a_huge_file_is_not_read(file, monkeypatch):
    monkeypatch.setattr(session_file, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="more than 100 bytes"):
        load_turns(file, Index())


def test_a_file_that_cannot_be_written_or_read_is_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be saved"):
        save_turns(tmp_path / "no" / "x", [TURN])
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="cannot be read"):
            load_turns(path, Index())


def test_a_save_that_fails_keeps_the_file_before_it(file, monkeypatch):
    before = file.read_text()
    file.with_name("chat.json.partial").mkdir()
    with pytest.raises(InputError, match="cannot be saved"):
        save_turns(file, [])
    assert file.read_text() == before
