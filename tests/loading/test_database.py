import pytest

from florence_rag.errors import InputError, ModelError, StoreMismatchError, StoreUnavailableError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.loading.database import open_database
from florence_rag.loading.loaders import EMBEDDER
from florence_rag.models.registry import TINY
from florence_rag.testing import ColorEmbedder
from florence_rag.types import EmbedderInfo
from tests.loading.stand_ins import stand_in


def record_embedder(uri, name):
    info = EmbedderInfo(name=name, fingerprint="another", dimension=4, preprocessing="another")
    MilvusIndex.open(uri, info).close()
    return uri


@pytest.fixture
def colors(monkeypatch):
    """Load a ColorEmbedder for every embedder."""
    stand_in(monkeypatch, EMBEDDER, lambda card, loader: ColorEmbedder())


def test_a_new_database_has_the_models_and_the_folders_next_to_its_file(tmp_path, colors):
    database = open_database(tmp_path / "photos.db", TINY, {"captioner": "never"})
    with database.index:
        assert isinstance(database.models.embedder, ColorEmbedder)
        assert database.models.vqa and database.models.detector and not database.models.captioner
        assert database.image_folder == tmp_path / "photos.images" / "florence"
        assert database.classifier_folder == tmp_path / "photos.classifiers" / "florence"


def test_roles_without_a_name_have_the_defaults_of_the_embedder(tmp_path, colors):
    with (database := open_database(tmp_path / "one.db", "siglip2-base", {"captioner": "never"})).index:
        assert database.models.vqa and database.models.vqa.name == "blip-vqa-base"
        assert database.models.captioner is database.models.detector is None
    with (database := open_database(tmp_path / "two.db", TINY, {})).index:
        assert database.models.detector and database.models.detector.name == TINY


def test_another_known_embedder_is_refused_before_it_is_loaded(tmp_path, monkeypatch):
    stand_in(monkeypatch, EMBEDDER, lambda card, loader: pytest.fail("a model was loaded"))
    uri = record_embedder(str(tmp_path / "x.db"), "siglip2-base")
    with pytest.raises(StoreMismatchError, match="was filled by siglip2-base, not by florence-tiny; open it with"):
        open_database(uri, TINY, {})


def test_an_embedder_from_a_folder_is_compared_by_its_weights(tmp_path, colors):
    uri = record_embedder(str(tmp_path / "x.db"), "/a/folder")
    with pytest.raises(StoreMismatchError, match=ColorEmbedder.info.name):
        open_database(uri, TINY, {})


def test_a_missing_database_is_not_created_if_create_is_false(tmp_path, colors):
    with pytest.raises(StoreUnavailableError):
        open_database(tmp_path / "x.db", TINY, {"create": False})
    assert not any(tmp_path.iterdir())


def test_a_wrong_option_is_an_error_before_a_model_is_loaded_and_creates_nothing(tmp_path, monkeypatch):
    stand_in(monkeypatch, EMBEDDER, lambda card, loader: pytest.fail("a model was loaded"))
    with pytest.raises(InputError, match="no-such-index"):
        open_database(tmp_path / "x.db", TINY, {"index_type": "no-such-index"})
    with pytest.raises(ModelError, match="no-such-model"):
        open_database(tmp_path / "x.db", TINY, {"vqa": "no-such-model"})
    assert not any(tmp_path.iterdir())
