"""A database of files and items, which the tests damage."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from florence_rag.context import Models
from florence_rag.embedding.base import Embedder
from florence_rag.index.milvus import MilvusIndex
from florence_rag.loading import database
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder, ScriptedReader, color_frame
from tests.cli.stand_ins import use_color_models


@pytest.fixture(scope="session")
def original(tmp_path_factory) -> tuple[Path, Path]:
    """Three images and a text, and a database of them and of three items; the second folder is a copy."""
    folder = tmp_path_factory.mktemp("maintenance") / "library"
    folder.mkdir()
    for color in ("red", "blue", "green"):
        Image.fromarray(color_frame(color)).save(folder / f"{color}.png")
    (folder / "notes.txt").write_text("The bakery opens at seven.")
    models = Models.of(ColorEmbedder(), ocr_reader=ScriptedReader({}))
    index = MilvusIndex.open(str(folder / "x.db"), models.embedder.info)
    with FlorenceRAG(index, models, images=folder / "x.images/florence") as rag:
        rag.add(*(folder / name for name in ("red.png", "blue.png", "green.png", "notes.txt")))
        rag.items.upsert_texts(["red milk", "blue cheese"], ids=["milk", "cheese"], metadatas=[{"n": {"m": 1}}, None])
        rag.items.upsert_images([color_frame("red")], ids=["poster"])
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    return folder, copy


@pytest.fixture
def folder(original) -> Path:
    """The folder of `original`, as it was."""
    folder, copy = original
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    return folder


@pytest.fixture
def damage(folder) -> Callable[..., Iterator[MilvusIndex]]:
    """Opens the index without a check, so that a test can damage it."""

    @contextmanager
    def open_it() -> Iterator[MilvusIndex]:
        with MilvusIndex.open_unchecked(str(folder / "x.db")) as index:
            yield index

    return open_it


def use_models(patch: pytest.MonkeyPatch, embedder: Callable[[], Embedder] = ColorEmbedder) -> None:
    """Let the database open with stand-ins for the models, which it may name."""
    use_color_models(patch, embedder)
    patch.setattr(database, "is_known", lambda name: True)


def id_of(index: MilvusIndex, uri: str | Path) -> str:
    (hit,) = index.chunks_of([str(uri)])
    return hit.id


def everything(folder: Path) -> dict[str, tuple]:
    """Return what a database holds, by uri of the source."""
    with MilvusIndex.open(str(folder / "x.db"), ColorEmbedder.info, create=False) as index:
        assert index.info().incomplete == ()
        hits = index.chunks_of(list(index.sources()))
        return {hit.uri: (hit.id, hit.text, hit.metadata, index.vectors([hit.id]).tobytes()) for hit in hits}
