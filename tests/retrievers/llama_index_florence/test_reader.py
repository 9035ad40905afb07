import base64
import io
import json
import logging

import numpy as np
import pytest
from llama_index.core import SimpleDirectoryReader
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import Document, ImageDocument, MetadataMode
from llama_index.core.storage.docstore import SimpleDocumentStore
from PIL import Image

from florence_rag.errors import InputError, MediaError
from florence_rag.testing import COLORS, ColorEmbedder, color_frame, color_shares
from llama_index_florence import FlorenceEmbedding, FlorenceReader


def color_of(document):
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(document.image))))
    return list(COLORS)[color_shares(image).argmax()]


@pytest.fixture(scope="module")
def documents(folder):
    return FlorenceReader().load_data(folder)


def test_it_is_a_reader():
    assert isinstance(FlorenceReader(), BaseReader)
    assert FlorenceReader().to_dict()["class_name"] == "FlorenceReader"


def test_documents_are_the_chunks_of_the_index(documents, rag):
    stored = {hit.id: hit for hit in rag.get([document.id_ for document in documents])}
    assert len(stored) == len(documents) == sum(rag.info().chunks.values())
    for document in documents:
        hit = stored[document.id_]
        assert document.metadata["source"] == hit.source
        assert document.metadata["kind"] == hit.kind
        assert document.metadata["locator"] == hit.locator.to_dict()


def test_documents_hold_images_and_texts_are_plain(documents):
    for document in documents:
        if document.metadata["kind"] == "text":
            assert type(document) is Document and document.text == "The red bus leaves at nine."
        else:
            assert isinstance(document, ImageDocument) and document.text.startswith(f"[{document.metadata['kind']}] ")
    clips = [color_of(document) for document in documents if document.metadata["kind"] == "clip"]
    assert clips == ["red", "green", "blue", "yellow", "purple"]


def test_metadata_are_json_and_stay_away_from_models(documents, folder):
    for document in documents:
        assert json.loads(json.dumps(document.metadata)) == document.metadata
        assert str(folder) not in document.get_content(MetadataMode.LLM) + document.get_content(MetadataMode.EMBED)


def test_images_can_be_omitted(folder):
    assert {type(document) for document in FlorenceReader(images=False).lazy_load_data(folder)} == {Document}


async def test_it_reads_asynchronously(folder, documents):
    assert [document.id_ for document in await FlorenceReader().aload_data(folder)] == [
        document.id_ for document in documents
    ]


def test_a_directory_reader_uses_it_for_a_kind_of_file(folder):
    read = SimpleDirectoryReader(str(folder), file_extractor={".mp4": FlorenceReader()}, required_exts=[".mp4"])
    clips = read.load_data()
    assert [clip.metadata["kind"] for clip in clips] == ["clip"] * 5
    assert clips[0].metadata["file_name"] == "walk.mp4"


def test_a_pipeline_embeds_what_has_changed_only(tmp_path):
    for color in ("red", "blue"):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.png")
    pipeline = IngestionPipeline(
        transformations=[FlorenceEmbedding(embedder=ColorEmbedder())],
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.DUPLICATES_ONLY,
    )
    assert len(pipeline.run(documents=FlorenceReader().load_data(tmp_path))) == 2
    Image.fromarray(color_frame("green")).save(tmp_path / "red.png")
    changed = pipeline.run(documents=FlorenceReader().load_data(tmp_path))
    assert [color_of(document) for document in changed] == ["green"]


def test_a_file_that_cannot_be_read_stops_nothing(tmp_path, caplog):
    Image.fromarray(color_frame("red")).save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "empty.jpg").touch()
    with caplog.at_level(logging.WARNING):
        assert len(FlorenceReader().load_data(tmp_path)) == 1
    assert "broken.png" in caplog.text and "empty.jpg" in caplog.text
    with pytest.raises(MediaError, match=r"broken\.png"):
        FlorenceReader(strict=True).load_data(tmp_path)


def test_a_path_that_does_not_exist_is_an_error():
    with pytest.raises(InputError, match="does not exist"):
        FlorenceReader().load_data("/no/such/folder")
    with pytest.raises(InputError, match="nothing to read"):
        FlorenceReader().load_data()
