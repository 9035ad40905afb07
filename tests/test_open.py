"""FlorenceRAG.open with a model that is named by its folder; it is untrained, so only the wiring is tested."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from florence_rag.errors import ModelError, StoreMismatchError, StoreUnavailableError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.loading.model_options import ModelOptions
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import color_frame
from florence_rag.types import EmbedderInfo
from tests.retrievers.untrained import save_untrained


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    save_untrained(path)
    return str(path)


@pytest.fixture
def db(tmp_path, model):
    """Return the file of a database that holds one image."""
    image = tmp_path / "red.png"
    Image.fromarray(color_frame("red")).save(image)
    with FlorenceRAG.open(tmp_path / "test.db", model, ocr="never") as rag:
        assert rag.add(image).added == 1
    return tmp_path / "test.db"


def test_a_database_records_its_model(db, model):
    with FlorenceRAG.open(db) as rag:
        assert rag.models.embedder.info.name == model
        (hit,) = rag.search("anything")
        assert rag.ask_image(hit.id, "What color is it?").answer


def test_another_model_is_refused_and_both_are_named(db, tmp_path, model):
    save_untrained(tmp_path / "other")
    with pytest.raises(StoreMismatchError) as error:
        FlorenceRAG.open(db, str(tmp_path / "other"))
    assert model in str(error.value) and str(tmp_path / "other") in str(error.value)
    FlorenceRAG.open(db).close()


def test_a_model_is_the_same_by_whatever_path_it_is_named(db, model, monkeypatch):
    monkeypatch.chdir(Path(model).parent)
    FlorenceRAG.open(db, Path(model).name).close()


def test_a_missing_database_is_not_made_where_it_must_exist(tmp_path, model):
    with pytest.raises(StoreUnavailableError, match="florence-rag index"):
        FlorenceRAG.open(tmp_path / "none.db", model, create=False)
    assert not (tmp_path / "none.db").exists()


def test_an_unknown_model_is_named(tmp_path):
    with pytest.raises(ModelError, match="no model 'nonsense'"):
        FlorenceRAG.open(tmp_path / "test.db", "nonsense")


def test_words_are_read_by_default(tmp_path, model):
    picture = Image.new("RGB", (480, 160), "white")
    ImageDraw.Draw(picture).text((40, 50), "03-17", "black", ImageFont.load_default(60))
    picture.save(tmp_path / "sign.png")
    with FlorenceRAG.open(tmp_path / "test.db", model) as rag:
        rag.add(tmp_path / "sign.png")
        (hit,) = rag.search("03-17")
    assert hit.ocr == "03-17"
    assert 'contains "03-17"' in hit.explanation


@pytest.fixture
def nothing_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


PAIR = ("huggingface.co/google/siglip2-base-patch16-224", "huggingface.co/florence-community/Florence-2-base/")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, PAIR),
        ({"captioner": "never"}, PAIR[:1]),
        ({"text_embedder": "all-minilm-l6"}, (*PAIR, "huggingface.co/sentence-transformers/all-MiniLM-L6-v2/")),
    ],
)
def test_all_that_is_missing_is_named_in_one_line(tmp_path, nothing_fetched, options, wanted):
    with pytest.raises(ModelError) as error:
        FlorenceRAG.open(tmp_path / "new.db", model_options=ModelOptions(offline=True), **options)
    said = str(error.value)
    assert [part for part in (*PAIR, "huggingface.co/sentence-transformers/") if part in said] == [
        part.removesuffix("all-MiniLM-L6-v2/") for part in wanted
    ]
    assert "--model florence-tiny" in said and "\n" not in said
    assert not (tmp_path / "new.db").exists()


def test_what_is_only_searched_needs_no_captions(tmp_path, nothing_fetched):
    recorded = EmbedderInfo(name="siglip2-base", fingerprint="any", dimension=4, preprocessing="any")
    MilvusIndex.open(str(tmp_path / "test.db"), recorded).close()
    with pytest.raises(ModelError) as error:
        FlorenceRAG.open(tmp_path / "test.db", model_options=ModelOptions(offline=True), create=False)
    assert [part for part in PAIR if part in str(error.value)] == [PAIR[0]]


def test_the_default_pair_is_told_with_sizes_and_licenses_before_the_first_download(
    tmp_path, nothing_fetched, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    said = []
    with pytest.raises(ModelError, match="cannot be fetched"):  # there is no network in tests
        FlorenceRAG.open(tmp_path / "new.db", model_options=ModelOptions(announce=said.append))
    embedder, describer = said
    assert "siglip2-base" in embedder and "1500 MB, license Apache-2.0" in embedder
    assert "florence-2-base" in describer and "463 MB, license MIT" in describer


@pytest.mark.parametrize("part", ["vqa", "captioner", "detector", "action_model", "reranker", "text_embedder"])
def test_a_part_that_cannot_be_had_leaves_no_database(part, tmp_path):
    with pytest.raises(ModelError, match="no-such-model"):
        FlorenceRAG.open(tmp_path / "photos.db", "florence-tiny", **{part: "no-such-model"})
    assert not any(tmp_path.iterdir())
