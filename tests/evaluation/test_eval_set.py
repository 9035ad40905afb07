import json

import numpy as np
import pytest

from florence_rag.errors import InputError
from florence_rag.evaluation.eval_set import EvalQuery, EvalSet, build_eval_set
from florence_rag.testing import ColorEmbedder, MemoryIndex
from florence_rag.types import Chunk, Locator, Source

PASSAGE = "The old librarian counts twelve dusty volumes about harbor cranes and winter storms."


def index_of(*chunks: Chunk) -> MemoryIndex:
    index = MemoryIndex(ColorEmbedder.info)
    for source in {chunk.source for chunk in chunks}:
        index.begin(source)
    index.add(chunks, np.eye(1, ColorEmbedder.info.dimension, dtype=np.float32).repeat(len(chunks), axis=0))
    return index


def image(name: str, caption: str = "", **fields) -> Chunk:
    return Chunk(Source(f"/{name}.png", "image", 1, 1, name), "image", caption=caption, **fields)


def test_each_field_becomes_queries_in_its_own_way():
    red, tagged = image("red", "a red car"), image("blue", "a blue car", metadata={"tags": ["sky", "sea"]})
    guessed = image("green", metadata={"tags": ["sky", "grass"], "tags_guessed": {"grass": 0.8}})
    notes = Chunk(Source("/notes.txt", "text", 1, 1, "n"), "text", text=PASSAGE)
    built = build_eval_set(index_of(red, tagged, guessed, notes))
    found = {(query.field, query.text): set(query.relevant) for query in built.queries}
    words = next(query for query in built.queries if query.field == "text")
    assert found == {
        ("caption", "a red car"): {red.id},
        ("caption", "a blue car"): {tagged.id},
        ("tags", "sky"): {tagged.id, guessed.id},
        ("tags", "sea"): {tagged.id},
        ("text", words.text): {notes.id},
    }
    assert [query.is_stored_text for query in built.queries] == [query.field == "caption" for query in built.queries]
    drawn = words.text.split()
    assert len(drawn) == 4 and set(drawn) < set(PASSAGE.rstrip(".").split()) and words.text not in PASSAGE


def test_equal_texts_are_one_query_and_the_sample_does_not_depend_on_the_order():
    chunks = [image(str(number), f"a car number {number // 2}") for number in range(40)]
    built = build_eval_set(index_of(*chunks), limit=7)
    assert len(built.queries) == 7 and all(len(query.relevant) == 2 for query in built.queries)
    assert build_eval_set(index_of(*reversed(chunks)), limit=7) == built


def test_by_source_any_chunk_of_the_file_is_right():
    film = Source("/film.mp4", "video", 1, 1, "f")
    clips = [
        Chunk(film, "clip", Locator(start_s=second, end_s=second + 1), caption=f"scene {second}") for second in range(2)
    ]
    built = build_eval_set(index_of(*clips), level="source")
    assert [dict(query.relevant) for query in built.queries] == [{"/film.mp4": 1.0}] * 2


def test_it_is_written_in_the_form_of_beir_and_read_again(tmp_path):
    built = build_eval_set(index_of(image("red", "ein Au\ud800to"), image("blue", "a blue car")), level="source")
    built.write(tmp_path / "set")
    rows = [json.loads(line) for line in (tmp_path / "set/qrels.jsonl").read_text().splitlines()]
    assert {tuple(row) for row in rows} == {("query-id", "corpus-id", "score")}
    read = EvalSet.read(tmp_path / "set")
    assert read.level == "source" and [query.relevant for query in read.queries] == [q.relevant for q in built.queries]
    with pytest.raises(InputError, match="has a test set already"):
        built.write(tmp_path / "set")
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "set", tmp_path / ("a" * 300), "a\0b"):
        with pytest.raises(InputError, match="cannot be written to"):
            built.write(folder)


@pytest.mark.parametrize(
    "queries,qrels,message",
    [
        ('{"_id": "1"}', '{"query-id": "1", "corpus-id": "a", "score": 1}', "no column 'text'"),
        ('{"_id": "1", "text": "x"}', '{"query-id": "1", "corpus-id": "a", "score": "NaN"}', "it must be a number"),
        ('{"_id": "1", "text": "x"}', '{"query-id": "2", "corpus-id": "a", "score": 1}', "'1' .* no right document"),
        ('{"_id": "1", "text": "x"}', '{"query-id": "1", "corpus-id": "a", "score": 0}', "'1' .* no right document"),
        ('{"_id": "1", "text": "x"}\n' * 2, '{"query-id": "1", "corpus-id": "a", "score": 1}', "'1' .* is there twice"),
        ('{"_id": "1", "text": " "}', '{"query-id": "1", "corpus-id": "a", "score": 1}', "query is empty"),
        ('{"_id": "1", "text": "x", "level": "page"}', '{"query-id": "1", "corpus-id": "a", "score": 1}', "levels"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_place(tmp_path, queries, qrels, message):
    (tmp_path / "queries.jsonl").write_text(queries)
    (tmp_path / "qrels.jsonl").write_text(qrels)
    with pytest.raises(InputError, match=message):
        EvalSet.read(tmp_path)


def test_queries_that_a_person_wrote_need_only_an_id_and_a_text(tmp_path):
    (tmp_path / "queries.jsonl").write_text('{"_id": 7, "text": "a red car", "metadata": {}}\n')
    (tmp_path / "qrels.jsonl").write_text('{"query-id": 7, "corpus-id": "a", "score": 2}\n')
    assert EvalSet.read(tmp_path) == EvalSet((EvalQuery("7", "a red car", {"a": 2.0}),))


def test_an_index_without_any_text_is_an_error():
    with pytest.raises(InputError, match="no chunk has caption or tags to take queries from"):
        build_eval_set(index_of(image("red")), ["tags", "caption"])
    with pytest.raises(InputError, match="limit is 0"):
        build_eval_set(index_of(image("red")), limit=0)
