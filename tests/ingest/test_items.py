"""Items that a program gives, on Milvus Lite and in memory."""

import io
import pickle
import threading
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from PIL import Image

from florence_rag.context import Models
from florence_rag.embedding.base import EmbedderCapabilities
from florence_rag.errors import BatchError, InputError, MediaError
from florence_rag.index import schema
from florence_rag.index.milvus import MilvusIndex
from florence_rag.ingest import items
from florence_rag.ingest.engine import IngestConfig
from florence_rag.rag import FlorenceRAG
from florence_rag.reembed import Reembedding
from florence_rag.sources import discover
from florence_rag.testing import (
    ColorEmbedder,
    ColorVQA,
    MemoryIndex,
    ScriptedCaptioner,
    ScriptedReader,
    SynonymEmbedder,
    color_frame,
)
from florence_rag.types import Chunk, Locator, Source


class CountingEmbedder(ColorEmbedder):
    def __init__(self):
        self.texts = self.images = 0

    def embed_texts(self, texts):
        self.texts += len(texts)
        return super().embed_texts(texts)

    def embed_images(self, frames):
        self.images += len(frames)
        return super().embed_images(frames)


@pytest.fixture
def embedder():
    return CountingEmbedder()


@pytest.fixture(scope="module")
def milvus(tmp_path_factory):
    with MilvusIndex.open(str(tmp_path_factory.mktemp("db") / "items.db"), ColorEmbedder.info) as index:
        yield index


@pytest.fixture(params=["milvus", "memory"])
def index(request, milvus):
    if request.param == "memory":
        yield MemoryIndex(ColorEmbedder.info)
    else:
        yield milvus
        milvus.delete_sources(milvus.sources())


@pytest.fixture
def rag(index, embedder, tmp_path):
    config = IngestConfig(batch_size=4, threads=2)
    return FlorenceRAG(index, Models.of(embedder, vqa=ColorVQA()), ingest=config, images=tmp_path / "stored")


@pytest.fixture
def save(tmp_path):
    def save_image(*colors, name=None):
        path = tmp_path / f"{name or '-'.join(colors)}.png"
        Image.fromarray(color_frame(*colors)).save(path)
        return path

    return save_image


def found(rag, text, **options):
    return [hit.id for hit in rag.search(text, **options)]


# Texts


def test_texts_are_found_under_their_ids(rag):
    assert rag.items.upsert_texts(["a red wall", "a blue wall"], ids=["r", "b"], metadatas=[{"n": 1}, None]) == [
        "r",
        "b",
    ]
    (hit,) = rag.search("red", k=1)
    assert (hit.id, hit.kind, hit.text, hit.source, hit.is_item) == ("r", "text", "a red wall", "item:r", True)
    assert hit.metadata == {"n": 1}
    assert rag.info().sources == rag.info().chunks["text"] == 2


def test_an_id_follows_from_text_and_metadata(rag):
    first = rag.items.upsert_texts(["red", "red", "red"], metadatas=[{}, {"n": 1}, {}])
    assert first[0] == first[2] != first[1]
    assert rag.items.upsert_texts(["red"]) == first[:1]
    assert rag.info().chunks["text"] == 2
    assert len(first[0]) == 32


@pytest.mark.parametrize("id", ["x" * 512, 'a" or id != "', "ü/猫\n.jpg", "item:r", "1" * 32])
def test_any_short_text_can_be_an_id(rag, id):
    rag.items.upsert_texts(["red", "blue"], ids=[id, "other"])
    assert found(rag, "red", k=1) == [id]
    assert [hit.id for hit in rag.get([id])] == [id]
    assert rag.items.delete([id]) == 1
    assert found(rag, "red") == ["other"]


@pytest.mark.parametrize("id", ["x" * 513, "a\0b", "\ud800", 7])
def test_an_invalid_id_is_an_error(rag, id):
    with pytest.raises(InputError, match=r"is not a string of 1 to 512 bytes|must be a text or None"):
        rag.items.upsert_texts(["red"], ids=[id])
    assert rag.info().sources == 0


def test_an_item_replaces_the_one_before_it(rag):
    rag.items.upsert_texts(["red", "blue"], ids=["1", "2"], metadatas=[{"n": 1}, {"n": 2}])
    rag.items.upsert_texts(["green"], ids=["1"], metadatas=[{"m": 3}])
    (hit,) = rag.get(["1"])
    assert (hit.text, hit.metadata) == ("green", {"m": 3})
    assert found(rag, "green", k=1) == ["1"]
    assert rag.info().sources == 2


def test_an_item_with_the_same_content_is_not_embedded_again(rag, embedder):
    rag.items.upsert_texts(["red", "blue"], ids=["1", "2"])
    rag.items.upsert_texts(["red", "blue", "green"], ids=["1", "2", "3"], metadatas=[{"n": 9}, {}, {}])
    assert embedder.texts == 3
    assert rag.get(["1"])[0].metadata == {"n": 9}
    assert found(rag, "red", k=1) == ["1"]


def test_an_item_with_a_given_vector_is_not_embedded(rag, embedder, save):
    path, blue = save("red"), ColorEmbedder().embed_texts(["blue"])[0]
    rag.items.upsert_texts(["a", "red"], ids=["1", "2"], vectors={"1": (3 * blue).tolist()})
    rag.items.upsert_images([path, str(path)], ids=["3", "4"], vectors={"4": blue})
    assert (embedder.texts, embedder.images) == (1, 1)
    nearest = rag.retriever.search_by_vector(blue, 4)
    assert [hit.score for hit in nearest] == pytest.approx([1, 1, 0, 0])
    assert {hit.id for hit in nearest[:2]} == {"1", "4"}
    assert rag.frames(rag.get(["4"])[0])[0].shape == (48, 48, 3)


@pytest.mark.parametrize("vector", [[1.0, 2.0], [0.0] * 12, [float("nan")] * 12])
def test_a_vector_that_the_embedder_cannot_have_made_is_an_error(rag, vector):
    rag.items.upsert_texts(["before"], ids=["1"])
    with pytest.raises(InputError, match="vectors"):
        rag.items.upsert_texts(["red"], ids=["1"], vectors={"1": vector})
    assert rag.get(["1"])[0].text == "before"


def test_a_deleted_item_is_not_embedded_again(rag, embedder):
    rag.items.upsert_texts(["red", "blue"], ids=["1", "2"])
    rag.items.delete(["1", "2"])
    embedder.texts = 0
    rag.items.upsert_texts(["blue", "red"], ids=["2", "one"])
    assert embedder.texts == 0
    assert found(rag, "red", k=1) == ["one"]


def test_of_equal_ids_the_last_counts(rag):
    assert rag.items.upsert_texts(["red", "blue"], ids=["1", "1"]) == ["1", "1"]
    assert [hit.text for hit in rag.get(["1"])] == ["blue"]


def test_several_batches_are_embedded_at_a_time(index, save):
    class Meeting(ColorEmbedder):
        """A batch is ready when another one has begun."""

        capabilities = EmbedderCapabilities(workers=2)
        barrier = threading.Barrier(2, timeout=20)

        def embed_images(self, frames):
            self.barrier.wait()
            return super().embed_images(frames)

    rag = FlorenceRAG(index, Meeting(), ingest=IngestConfig(batch_size=8, threads=1))
    paths = [save("red", other) for other in ("blue", "green", "white", "black")]
    ids = rag.items.upsert_images(paths)
    assert [hit.id for hit in rag.get(ids)] == ids and len(set(ids)) == 4


def test_many_items_are_stored_in_batches(rag):
    ids = rag.items.upsert_texts([f"text {n} red" for n in range(300)])
    assert len(set(ids)) == rag.info().chunks["text"] == 300
    assert rag.items.ids() == sorted(ids)


def test_many_items_are_made_fast_to_search_and_few_are_not(rag, monkeypatch):
    flushed = []
    monkeypatch.setattr(rag.index, "flush", lambda: flushed.append(True))
    monkeypatch.setattr(items, "_MANY", 3)
    rag.items.upsert_texts(["red", "blue"])
    assert not flushed
    rag.items.upsert_texts(["green", "black", "white"])
    assert flushed == [True]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"texts": "red"}, "texts must be a list"),
        ({"texts": ["red"], "ids": ["1", "2"]}, "ids must be a list with one value for each of the 1 items"),
        ({"texts": ["red"], "metadatas": []}, "metadatas must be"),
        ({"texts": [3]}, "text must be of type string, got 3"),
        ({"texts": ["x" * 65_536]}, "has 65536 bytes; allowed are 65535"),
        ({"texts": ["red"], "metadatas": [{"a": object()}]}, r'\["a"\] is <object object'),
        ({"texts": ["red"], "metadatas": [{"a": "x" * 70_000}]}, "take 70008 bytes"),
    ],
)
def test_an_item_that_cannot_be_stored_is_an_error(rag, arguments, problem):
    with pytest.raises(InputError, match=problem):
        rag.items.upsert_texts(**arguments)


def test_an_item_that_fails_leaves_the_one_before_it(rag, monkeypatch):
    rag.items.upsert_texts(["red"], ids=["1"])
    with monkeypatch.context() as patch:
        patch.setattr(rag.models.embedder, "embed_texts", lambda texts: np.full((len(texts), 12), np.nan, np.float32))
        with pytest.raises(InputError, match="finite"):
            rag.items.upsert_texts(["blue"], ids=["1"])
    assert [hit.text for hit in rag.get(["1"])] == ["red"]
    assert rag.info().sources == 1


# Images


def test_an_image_file_is_read_where_it_is(rag, save, tmp_path):
    path = save("red")
    (id,) = rag.items.upsert_images([path], captions=["a wall"], metadatas=[{"city": "Rome"}])
    (hit,) = rag.search("red", k=1)
    assert (hit.id, hit.kind, hit.source, hit.caption) == (id, "image", str(path), "a wall")
    assert hit.metadata["city"] == "Rome"
    assert np.array_equal(rag.frames(hit)[0], color_frame("red"))
    assert not (tmp_path / "stored").exists()


@pytest.mark.parametrize("form", ["bytes", "file", "pil", "array"])
def test_pixels_are_stored(rag, save, form, tmp_path):
    path = save("red")
    data = path.read_bytes()
    forms = {
        "bytes": data,
        "file": io.BytesIO(data),
        "pil": Image.fromarray(color_frame("red")),
        "array": color_frame("red"),
    }
    rag.items.upsert_images([forms[form]], ids=["wall"])
    path.unlink()
    (hit,) = rag.search("red")
    assert (hit.id, hit.source) == ("wall", "item:wall")
    assert np.array_equal(rag.frames(hit)[0], color_frame("red"))
    assert rag.ask_image("wall", "What color is it?").answer == "red"
    assert len(list((tmp_path / "stored").iterdir())) == 1
    rag.items.delete(["wall"])
    assert list((tmp_path / "stored").iterdir()) == []


def test_a_stored_image_is_deleted_when_another_replaces_it(rag, tmp_path):
    rag.items.upsert_images([color_frame("red")], ids=["1"])
    rag.items.upsert_images([color_frame("blue")], ids=["1"])
    assert len(list((tmp_path / "stored").iterdir())) == 1
    assert np.array_equal(rag.frames(rag.get(["1"])[0])[0], color_frame("blue"))


def test_without_a_folder_pixels_are_refused_and_files_accepted(index, save):
    rag = FlorenceRAG(index, ColorEmbedder())
    with pytest.raises(InputError, match="give paths, or open it with images=FOLDER"):
        rag.items.upsert_images([color_frame("red")])
    rag.items.upsert_images([save("red")])
    assert len(rag.search("red")) == 1


def test_equal_images_are_one_item_and_embedded_once(rag, save, embedder):
    path = save("red")
    first = rag.items.upsert_images([path, color_frame("blue")])
    assert rag.items.upsert_images([path, color_frame("blue")]) == first
    assert rag.items.upsert_images([path.read_bytes()]) == first[:1]
    assert embedder.images == 2
    assert rag.info().chunks["image"] == 2


def test_a_file_that_changed_is_embedded_again(rag, save):
    rag.items.upsert_images([save("red", name="wall")], ids=["wall"])
    rag.items.upsert_images([save("blue", name="wall")], ids=["wall"])
    assert (
        rag.search("blue")[0].score
        == rag.retriever.search_by_vector(rag.models.embedder.embed_texts(["blue"])[0], 1)[0].score
    )


@pytest.mark.parametrize("bad", ["gone.png", "https://example.org/a.png", b"no image", b""])
def test_an_unreadable_image_is_an_error_and_the_item_before_it_stays(rag, bad):
    rag.items.upsert_images([color_frame("red")], ids=["1"])
    with pytest.raises(InputError):
        rag.items.upsert_images([bad], ids=["1"])
    assert np.array_equal(rag.frames(rag.get(["1"])[0])[0], color_frame("red"))


def test_a_broken_file_is_named(rag, tmp_path, save):
    (tmp_path / "broken.jpg").write_text("this is no image")
    with pytest.raises(BatchError, match=r"1 of 2 items were not stored: items\[1\]: .*broken\.jpg"):
        rag.items.upsert_images([save("red"), tmp_path / "broken.jpg"])


def test_a_single_item_fails_with_its_own_error(rag, tmp_path):
    (tmp_path / "broken.jpg").write_text("this is no image")
    with pytest.raises(MediaError, match=r"broken\.jpg"):
        rag.items.upsert_images([tmp_path / "broken.jpg"])


def test_bad_items_do_not_cost_their_batch(rag, save, tmp_path):
    cyclic = {}
    cyclic["self"] = cyclic
    rag.items.upsert_texts(["before"], ids=["b"])
    texts = ["red", "blue", 3, "red", "x" * 70_000, "green", "red", "blue"]  # more than one batch of 4
    metadatas = [{}, cyclic, {}, {"a": object()}, {}, {}, {}, {"at": date(2024, 5, 6)}]
    with pytest.raises(BatchError) as caught:
        rag.items.upsert_texts(texts, ids=["a", "b", "c", "d", "e", "f", "", "\0"], metadatas=metadatas)
    error = caught.value
    assert error.stored == ["a", "f", error.stored[2]]
    assert list(error.reasons) == [1, 2, 3, 4, 7]
    assert str(error).startswith("""5 of 8 items were not stored: items[1]: the metadata of 'the text blue'["self"]""")
    assert "\n" not in str(error)
    assert sorted(rag.items.ids()) == sorted([*error.stored, "b"])
    assert rag.get(["b"])[0].text == "before"  # an item that fails leaves the one before it
    assert pickle.loads(pickle.dumps(error)).reasons == error.reasons


def test_unreadable_images_and_ids_of_files_do_not_cost_their_batch(rag, save):
    rag.add(save("red"))
    (taken,) = rag.index.find()
    gone, good = save("blue"), save("green")
    chunks = [Chunk(Source(str(path), "image", 0, 0, path.name), "image", custom_id=path.stem) for path in (gone, good)]
    gone.unlink()
    with pytest.raises(BatchError) as caught:
        rag.items.upsert_chunks([*chunks, Chunk(Source("", "text", 0, 0, ""), "text", text="a", custom_id=taken.id)])
    assert caught.value.stored == ["green"]
    assert "blue.png" in caught.value.reasons[0]
    assert "is the id of a part of the file" in caught.value.reasons[2]


def test_images_are_captioned_and_read_by_ocr_like_those_of_files(index, tmp_path):
    captioner, reader = ScriptedCaptioner({"red": "a fire engine", "blue": "the sea"}), ScriptedReader({"red": "STOP"})
    rag = FlorenceRAG(index, Models.of(ColorEmbedder(), captioner=captioner, ocr_reader=reader), images=tmp_path)
    rag.items.upsert_images([color_frame("red"), color_frame("blue")], captions=[None, "own caption"], ids=["1", "2"])
    assert [(hit.caption, hit.ocr) for hit in rag.get(["1", "2"])] == [
        ("a fire engine", "STOP"),
        ("own caption", ""),
    ]
    rag.items.upsert_images([color_frame("red")], ids=["1"])
    assert rag.get(["1"])[0].caption == "a fire engine"
    assert (sum(captioner.batches), reader.reads) == (1, 2)


def test_a_caption_that_a_program_gave_is_not_used_again(index, tmp_path):
    rag = FlorenceRAG(index, ColorEmbedder(), images=tmp_path)
    rag.items.upsert_images([color_frame("red")], captions=["Anna at the clinic"], ids=["1"])
    rag.items.upsert_images([color_frame("red")], ids=["1"])
    assert rag.get(["1"])[0].caption == ""
    rag.items.upsert_images([color_frame("red")], captions=["Anna at the clinic"], ids=["1"])
    rag.items.delete(["1"])
    rag.items.upsert_images([color_frame("red")], ids=["2"])
    assert rag.get(["2"])[0].caption == ""


def test_a_captioner_describes_what_a_program_no_longer_does(index, tmp_path):
    captioner = ScriptedCaptioner({"red": "a fire engine"})
    rag = FlorenceRAG(index, Models.of(ColorEmbedder(), captioner=captioner), images=tmp_path)
    rag.items.upsert_images([color_frame("red")], captions=["own caption"], ids=["1"])
    rag.items.upsert_images([color_frame("red")], ids=["1"])
    rag.items.delete(["1"])
    rag.items.upsert_images([color_frame("red")], ids=["2"])
    assert rag.get(["2"])[0].caption == "a fire engine"
    assert sum(captioner.batches) == 1


def test_a_text_with_frames_is_stored_beside_a_captioner(index, tmp_path):
    models = Models.of(ColorEmbedder(), captioner=ScriptedCaptioner({"red": "a fire engine"}))
    rag = FlorenceRAG(index, models, images=tmp_path)
    chunk = Chunk(Source("", "text", 0, 0, ""), "text", text="a note", custom_id="1", frames=(color_frame("red"),))
    assert rag.items.upsert_chunks([chunk]) == ["1"]
    assert rag.get(["1"])[0].text == "a note"


def test_texts_are_embedded_if_the_index_stores_text_vectors(tmp_path):
    synonyms = SynonymEmbedder("dog hound")
    with MilvusIndex.open(str(tmp_path / "w.db"), ColorEmbedder.info, text_embedder=synonyms.info) as index:
        rag = FlorenceRAG(index, Models.of(ColorEmbedder(), text_embedder=synonyms), images=tmp_path / "stored")
        rag.items.upsert_images([color_frame("red")], captions=["a dog"], ids=["1"])
        rag.items.upsert_texts(["a cat"], ids=["2"])
        assert found(rag, "hound", k=1) == ["1"]


# Chunks of files


def test_chunks_of_a_file_are_items_of_their_own(rag, save, embedder):
    (source,) = discover([save("red", "blue")])
    chunk = Chunk(source, "image", Locator(box=(0.0, 0.0, 0.5, 1.0)), custom_id="left")
    assert rag.items.upsert_chunks([chunk]) == ["left"]
    rag.add(source.uri)
    assert rag.info().sources == 2
    hit = rag.get(["left"])[0]
    assert (hit.source, hit.uri, hit.locator) == (source.uri, "item:left", chunk.locator)
    rag.items.delete(["left"])
    assert [hit.source for hit in rag.search("red")] == [source.uri]


def test_an_image_chunk_without_a_file_is_refused(rag, save):
    (source,) = discover([save("red")])
    nowhere = type(source)("", "image", 0, 0, "")
    with pytest.raises(InputError, match="no file to read again"):
        rag.items.upsert_chunks([Chunk(nowhere, "image", frames=(color_frame("red"),))])


# Ids, deleting, searching


def test_items_cannot_have_the_ids_of_chunks_of_files(rag, save):
    path = save("red")
    rag.add(path)
    (hit,) = rag.search("red")
    for change in (lambda: rag.items.upsert_texts(["blue"], ids=[hit.id]), lambda: rag.items.delete(["1", hit.id])):
        with pytest.raises(InputError, match=r"part of the file .*red\.png"):
            change()
    assert rag.get([hit.id]) and rag.items.ids() == []


def test_unknown_ids_are_skipped(rag):
    rag.items.upsert_texts(["red"], ids=["1"])
    assert rag.items.delete(["1", "1", "2"]) == 1
    assert rag.items.delete([]) == rag.items.delete(["1"]) == 0
    assert rag.info().sources == 0


def test_pruning_leaves_items_alone(rag, save, tmp_path):
    rag.items.upsert_texts(["red"], ids=["1"])
    save("blue")
    assert rag.add(tmp_path, prune=True).removed == 0
    assert rag.get(["1"])


def test_a_vector_of_any_length_is_a_query(rag):
    rag.items.upsert_texts(["red", "blue", "red blue"], ids=["r", "b", "rb"])
    vector = 7 * rag.models.embedder.embed_texts(["red"])[0]
    hits = rag.retriever.search_by_vector(vector.tolist(), 2)
    assert [hit.id for hit in hits] == ["r", "rb"]
    assert hits[0].score == pytest.approx(1.0, abs=1e-5)
    assert [hit.id for hit in rag.retriever.search_by_vector(vector, 3, filter={"id": ["b"]})] == ["b"]
    assert rag.retriever.search_by_vector(vector, kinds={"image"}) == []


@pytest.mark.parametrize("vector", [[1.0, 2.0], [], [0.0] * 12, [float("nan")] * 12])
def test_a_vector_of_another_space_is_an_error(rag, vector):
    with pytest.raises(InputError, match="vectors"):
        rag.retriever.search_by_vector(vector)


def test_items_are_filtered_by_the_source_that_they_name(rag, save):
    path = str(save("red"))
    rag.items.upsert_texts(["red", "red"], ids=["1", "2"], metadatas=[{"source": "a.pdf"}, {}])
    rag.items.upsert_images([path], ids=["3"])

    def ids(condition):
        return {hit.id for hit in rag.search("red", filter={"source": condition})}

    assert [rag.get([id])[0].source for id in "123"] == ["a.pdf", "item:2", path]
    assert ids("a.pdf") == {"1"}
    assert ids(["a.pdf", "item:2"]) == {"1", "2"}
    assert ids({"$prefix": path[:-4]}) == {"3"}
    assert ids({"$ne": "a.pdf"}) == {"2", "3"}


def test_the_source_in_the_metadata_of_a_file_is_ignored(rag, save):
    """Only items say of themselves where they are from."""
    (source,) = discover([save("red")])
    rag.index.begin(source)
    chunk = Chunk(source, "image", metadata={"source": "a.pdf"})
    rag.index.add([chunk], rag.models.embedder.embed_texts(["red"]))
    rag.index.complete(source)
    rag.items.upsert_texts(["red"], ids=["1"], metadatas=[{"source": "b.pdf"}])
    assert found(rag, "red", filter={"source": ["b.pdf", "a.pdf"]}) == ["1"]
    assert found(rag, "red", filter={"source": source.uri}) == [chunk.id]


def test_items_move_to_another_embedder_with_their_images(tmp_path, save):
    class Turned(ColorEmbedder):
        info = replace(ColorEmbedder.info, name="turned")

        def embed_images(self, frames):
            return super().embed_images(frames)[:, ::-1]

        def embed_texts(self, texts):
            return super().embed_texts(texts)[:, ::-1]

    def opened(embedder):
        index = MilvusIndex.open(str(tmp_path / "r.db"), embedder.info)
        return FlorenceRAG(index, embedder, images=tmp_path / "stored")

    with opened(ColorEmbedder()) as rag:
        rag.items.upsert_texts(["a green wall"], ids=["text"], metadatas=[{"source": "a.pdf"}])
        rag.items.upsert_images([save("red"), color_frame("blue")], ids=["file", "pixels"])
        report = Reembedding(rag.context, Turned()).switch()
        assert (report.sources, report.failed) == (3, ())
    with opened(Turned()) as rag:
        nearest = (
            rag.retriever.search_by_vector(rag.retriever.embed_query(color), 1)[0] for color in ("green", "red", "blue")
        )
        assert [hit.id for hit in nearest] == ["text", "file", "pixels"]
        assert rag.get(["text"])[0].source == "a.pdf"
        assert rag.items.delete(["text", "file", "pixels"]) == 3


def test_threads_may_store_items_at_the_same_time(rag):
    def work(n):
        for i in range(5):
            rag.items.upsert_texts([f"red {n} {i}", "blue"], ids=[f"{n}-{i}", "shared"])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rag.info().sources == 21


def test_items_are_there_when_the_database_is_opened_again(tmp_path):
    def opened():
        return FlorenceRAG(MilvusIndex.open(str(tmp_path / "p.db"), ColorEmbedder.info), ColorEmbedder())

    with opened() as rag:
        rag.items.upsert_texts(["red"], ids=["1"])
    with opened() as rag:
        assert found(rag, "red") == ["1"]
        assert rag.info().incomplete == ()


@pytest.mark.slow
def test_items_survive_a_kill(tmp_path):
    import subprocess
    import sys

    script = f"""
import os
from florence_rag.index import schema
from florence_rag.index.milvus import MilvusIndex
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder
rag = FlorenceRAG(MilvusIndex.open({str(tmp_path / "k.db")!r}, ColorEmbedder.info), ColorEmbedder())
rag.items.upsert_texts(["red", "blue"], ids=["1", "2"])
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 9
    with FlorenceRAG(MilvusIndex.open(str(tmp_path / "k.db"), ColorEmbedder.info), ColorEmbedder()) as rag:
        assert found(rag, "red", k=1) == ["1"]
        assert rag.info().sources == 2


def test_an_index_of_an_older_version_takes_shorter_ids_and_stays_usable(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "MAX_ID_BYTES", 64)
    with FlorenceRAG(MilvusIndex.open(str(tmp_path / "o.db"), ColorEmbedder.info), ColorEmbedder()) as rag:
        rag.items.upsert_texts(["red"], ids=["x" * 64])
        with pytest.raises(InputError, match="has 65 bytes; allowed are 64: an older florence_rag created this index"):
            rag.items.upsert_texts(["blue"], ids=["x" * 65])
        rag.items.upsert_texts(["green"], ids=["g"])
        assert set(rag.items.ids()) == {"x" * 64, "g"}


@pytest.mark.parametrize(("reads", "width"), [(False, 400), (True, 800)])
def test_a_large_photo_is_decoded_as_large_as_the_embedder_can_see(tmp_path, reads, width):
    """A reader of OCR text still receives the whole image."""
    seen = []

    class Nearsighted(ColorEmbedder):
        capabilities = EmbedderCapabilities(detail_px=200)

        def embed_images(self, frames):
            seen.extend(frame.shape[1] for frame in frames)
            return super().embed_images(frames)

    Image.new("RGB", (800, 600), "red").save(tmp_path / "large.jpg")
    reader = ScriptedReader({}) if reads else None
    with FlorenceRAG(MemoryIndex(ColorEmbedder.info), Models.of(Nearsighted(), ocr_reader=reader), ocr="always") as rag:
        rag.items.upsert_images([tmp_path / "large.jpg"], ids=["a"])
        assert seen == [width]
        assert rag.frames(rag.get(["a"])[0])[0].shape == (600, 800, 3)
