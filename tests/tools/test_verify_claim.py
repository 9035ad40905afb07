from florence_rag.context import loaded
from florence_rag.testing import ScriptedVQA
from florence_rag.tools import VerifyClaim


def test_each_statement_has_a_verdict_with_its_place(full_rag, red, monkeypatch):
    vqa = ScriptedVQA({"red": ("yes", 0.9), "": ("no", 0.9)}, fit=0.9)
    monkeypatch.setattr(full_rag.models, "vqa", loaded(vqa))
    monkeypatch.setattr(full_rag.models, "matcher", None)
    (note,) = full_rag.search("bus leaves", k=1, kinds={"text"})
    claim = "There is a red wall. There is a dog. The red bus leaves at nine. It costs 3 dollars."
    result = VerifyClaim(full_rag)(claim=claim, ids=[red.id, note.id])
    heading, wall, dog, bus, price = result.text.splitlines()
    assert heading == "4 statements compared with 2 results:"
    assert wall.startswith('supported (confidence 0.90): "There is a red wall", by [image] "red.png", box ')
    assert dog.startswith('contradicted (confidence 0.90): "There is a dog"')
    assert bus.endswith(f'id {note.id}, "The red bus leaves at nine."') and bus.startswith("supported")
    assert price == 'unknown: "It costs 3 dollars"'
    assert [each["verdict"] for each in result.artifact["claims"]] == [
        "supported",
        "contradicted",
        "supported",
        "unknown",
    ]
    assert [image.id for image in result.images] == [red.id]


def test_what_is_left_out_is_said(full_rag, red):
    result = VerifyClaim(full_rag)(claim="It costs 3 dollars. " * 25, ids=[red.id])
    heading, *lines, last = result.text.splitlines()
    assert heading == "20 statements compared with 1 result:" and len(lines) == 20
    assert last == '5 statements not compared, from "It costs 3 dollars" on: pass fewer.'
    assert [each["verdict"] for each in result.artifact["claims"][20:]] == ["unchecked"] * 5


def test_a_wrong_call_says_what_to_change(full_rag):
    assert "give the ids of chunks as evidence" in VerifyClaim(full_rag)(claim="There is a dog.", ids=[]).text
    assert "no chunk has the id" in VerifyClaim(full_rag)(claim="There is a dog.", ids=["x"]).text
