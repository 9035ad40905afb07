import pytest
from huggingface_hub import constants

from florence_rag.errors import InputError, ModelError, StoreMismatchError, StoreUnavailableError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.loading.database import check_recorded, open_database
from florence_rag.loading.loaders import EMBEDDER, TEXT_EMBEDDER
from florence_rag.loading.model_loader import load_model
from florence_rag.models.registry import TINY, find_model
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


FOREIGN = [
    "evil/model",
    "sentence-transformers:evil/model",
    "siglip2-base",
    "florence",
    "openai:gpt",
    "/etc",
    "../model",
]
FOREIGN += ["~/model", "//host/share", "file:///etc", "https://host/model.pth", "unicl:https://host/w.pth", "a\nb"]


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("is_text_embedder", [False, True])
def test_a_database_cannot_name_a_model_that_you_have_not(tmp_path, monkeypatch, name, is_text_embedder):
    for role in (EMBEDDER, TEXT_EMBEDDER):
        stand_in(monkeypatch, role, lambda card, loader: pytest.fail("a model was loaded"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    infos = (EmbedderInfo(TINY, "b", 4, ""), EmbedderInfo(name, "a", 4, ""))
    recorded = infos if is_text_embedder else (infos[1], None)
    monkeypatch.setattr(MilvusIndex, "recorded_embedders", staticmethod(lambda *_: recorded))
    option = "text_embedder" if is_text_embedder else "model"
    with pytest.raises(
        ModelError, match=rf"x\.db' records .*name it: --{option.replace('_', '-')} .* or {option}=|role"
    ):
        open_database(tmp_path / "x.db", None, {})
    assert not any(tmp_path.iterdir())


def test_a_folder_of_the_working_directory_is_no_repository_of_a_database(tmp_path, monkeypatch):
    (tmp_path / "evil" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="a folder or file that was not named before on this machine"):
        check_recorded("evil/model", "x.db")


def test_a_folder_that_was_named_before_needs_no_name(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    stand_in(monkeypatch, EMBEDDER, lambda card, loader: ColorEmbedder())
    (tmp_path / "mine").mkdir()
    with pytest.raises(ModelError, match="not named before"):
        check_recorded(str(tmp_path / "mine"), "x.db")
    for _ in range(2):
        load_model(EMBEDDER, str(tmp_path / "mine"))
    load_model(EMBEDDER, TINY)
    assert check_recorded(str(tmp_path / "mine"), "x.db") == str(tmp_path / "mine")
    assert (tmp_path / "state" / "florence-rag" / "models.txt").read_text() == f"{tmp_path / 'mine'}\n"


def test_without_a_writable_home_a_folder_has_to_be_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    stand_in(monkeypatch, EMBEDDER, lambda card, loader: ColorEmbedder())
    (tmp_path / "mine").mkdir()
    load_model(EMBEDDER, str(tmp_path / "mine"))
    with pytest.raises(ModelError, match="not named before"):
        check_recorded(str(tmp_path / "mine"), "x.db")


def test_a_model_that_was_downloaded_before_needs_no_name(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name, folder in (("a/b", "models--a--b"), ("siglip2-base", None)):
        folder = folder or f"models--{find_model(name).source.replace('/', '--')}"
        (tmp_path / folder / "snapshots" / "c").mkdir(parents=True)
        (tmp_path / folder / "snapshots" / "c" / "model.safetensors").touch()
        (tmp_path / folder / "refs").mkdir()
        (tmp_path / folder / "refs" / "main").write_text("c")
        assert check_recorded(name, "x.db") == name
    assert check_recorded(TINY, "x.db") == TINY
