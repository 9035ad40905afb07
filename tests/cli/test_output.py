import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from florence_rag.cli.output import (
    answer_line,
    answer_to_text,
    hits_to_text,
    info_to_text,
    plain,
    print_result,
    report_to_text,
    source_to_text,
)
from florence_rag.index.base import IndexInfo
from florence_rag.index_report import IndexReport
from florence_rag.models.registry import CARDS
from florence_rag.types import Answer, CheckedClaim, Citation, EmbedderInfo, Failure, Hit, Locator


def shown(image) -> str:
    console = Console(file=StringIO(), soft_wrap=True, width=80)
    console.print(image)
    return console.file.getvalue()


def hit(**changes) -> Hit:
    values = {"id": "0" * 32, "kind": "image", "source": "/photos/a.jpg", "locator": Locator(), "score": 0.5} | changes
    return Hit(**values)


@pytest.mark.parametrize("name", ["[red]a[/red].jpg", "a\x1b[31mb.jpg", "a\udcff.jpg", "a\u202eb.jpg", "日本.jpg"])
def test_text_from_a_file_cannot_control_the_terminal(name):
    text = shown(plain(name))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.encode()
    assert text.startswith(name[:4] if name.startswith("[") else "a" if name.startswith("a") else name)


def test_a_source_is_a_relative_path_if_that_is_shorter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown(source_to_text(str(tmp_path / "a.jpg"))).strip() == "a.jpg"
    assert shown(source_to_text("/a.jpg")).strip() == "/a.jpg"


def test_a_long_path_is_not_broken():
    source = "/" + "/".join(["folder"] * 40) + "/a.jpg"
    assert source in shown(hits_to_text([hit(source=source)]))


def test_a_hit_has_its_source_explanation_and_content():
    moment = hit(kind="clip", locator=Locator(start_s=9, end_s=12))
    found = hit(
        kind="clip",
        locator=Locator(start_s=1, end_s=4.5),
        explanation="visual similarity 0.31",
        text="words " * 99,
        grouped_hits=(moment,),
    )
    text = shown(hits_to_text([found]))
    assert "1  /photos/a.jpg, 1.0-4.5 s" in text
    assert "clip, score 0.500: visual similarity 0.31" in text
    assert "words words wo…" in text
    assert "also at 9.0-12.0 s" in text


def test_an_answer_has_citations_and_other_candidates():
    citation = Citation("0" * 32, "page", "/a.pdf", Locator(page=3), quote="It is  blue.", confidence=0.8)
    text = shown(answer_to_text(Answer("blue", 0.9, (citation,), (("blue", 0.9), ("red", 0.05)))))
    assert text.splitlines() == [
        "blue  confidence 0.90",
        "  1  /a.pdf, page 3  confidence 0.80",
        "     “It is blue.”",
        "also considered: red (0.05)",
    ]


def test_claims_that_were_not_compared_are_counted():
    claims = (CheckedClaim("It is blue", "unknown"), *[CheckedClaim("It is red", "unchecked")] * 3)
    _, *lines = shown(answer_to_text(Answer("blue", 0.9, claims=claims))).splitlines()
    assert lines == ["unknown: It is blue", "unchecked: 3 more statements, because the answer states too much"]


def test_a_candidate_that_is_a_passage_is_shortened_to_one_line():
    text = shown(answer_to_text(Answer("blue", 0.9, (), (("It is\nred " + "red " * 99, 0.05),))))
    assert "also considered: It is red red" in text and "… (0.05)" in text
    assert len(text.splitlines()) == 2


def test_a_hit_without_explanation_and_with_a_broken_name_keeps_its_lines():
    text = shown(hits_to_text([hit(source="/photos/new\nline.jpg")]))
    assert text.splitlines() == ["  1  /photos/new line.jpg", "     image, score 0.500"]


def test_an_answer_without_confidence_prints_none():
    assert shown(answer_to_text(Answer("blue", None))).strip() == "blue"


def test_a_report_names_failures_first_and_counts_last():
    text = shown(report_to_text(IndexReport(added=2, failed=(Failure("/a.jpg", "'/a.jpg' is cut off"),))))
    assert text.splitlines() == [
        "failed /a.jpg: is cut off",
        "2 added, 0 updated, 0 unchanged, 0 removed, 1 failed",
    ]
    text = shown(report_to_text(IndexReport(added=2, skipped_counts={".mp3": 1}, words_pending=2)))
    assert text.strip().endswith("0 failed; skipped 1: 1 .mp3; the words of 2 files are still to be read")


def test_info_names_the_training_data_of_the_model():
    info = IndexInfo(
        uri="photos.db",
        collection="florence",
        embedder=EmbedderInfo("florence-tiny", "abcdef", 256, "96 px"),
        chunks={"image": 2, "page": 0, "clip": 1, "text": 0},
        sources=3,
        failures=1,
        index_type="FLAT",
        server_version="milvus_lite-3.2.2",
    )
    text = shown(info_to_text(info, [Failure("/a.jpg", "no image")], CARDS["florence-tiny"]))
    assert "3 indexed, 1 failed" in text
    assert "2 image" in text
    assert "synthetic" in text
    assert "words" not in text
    pending = shown(info_to_text(replace(info, awaiting_words=1), [], None))
    assert "text read   2 of 3 images (OCR, captions); the next index run continues" in pending
    assert "chunks      none" in shown(info_to_text(replace(info, chunks={}), [], None))
    assert "failed /a.jpg: no image" in text


def test_json_is_one_line_of_ascii(capsys):
    print_result({"source": "日本\udcff.jpg"}, "", as_json=True)
    line = capsys.readouterr().out
    assert line.isascii()
    assert json.loads(line) == {"source": "日本\udcff.jpg"}


def test_the_first_line_of_an_answer_says_that_it_is_cached():
    cited = Citation("1", "image", "a.png", Locator(), cached_from="cached answer of 2026-01-01")
    assert "from the cache" in answer_line(Answer("red", 0.9, (cited,))).plain
    assert "from the cache" not in answer_line(Answer("red", 0.9, (replace(cited, cached_from=""),))).plain
