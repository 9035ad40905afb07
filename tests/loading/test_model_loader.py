from functools import partial

import pytest

from florence_rag.errors import ModelError
from florence_rag.loading.loaders import CAPTIONER, EMBEDDER, RERANKER, VQA
from florence_rag.loading.model_loader import ModelLoader, ModelRole, load_model
from florence_rag.loading.model_options import ModelOptions
from florence_rag.models.downloads import Fetcher
from florence_rag.models.registry import find_model
from florence_rag.testing import ColorEmbedder, color_frame
from tests.retrievers.untrained import save_untrained

OPTIONS = ModelOptions(offline=True, device="cpu")


@pytest.mark.parametrize("role", [EMBEDDER, VQA, RERANKER])
def test_an_unknown_model_is_named(role):
    with pytest.raises(ModelError, match="no-such-model"):
        load_model(role, "no-such-model")


def test_a_family_that_cannot_fill_a_role_is_an_error_before_anything_is_loaded():
    message = r"family 'openai' lack the role 'embed'; families with it: florence, unicl, sentence-transformers"
    with pytest.raises(ModelError, match=message):
        EMBEDDER.card("openai:gpt")


def test_a_reranker_may_be_a_model_that_matches_texts_with_images():
    assert RERANKER.card("meter-clip16-coco").roles == ("match",)
    assert RERANKER.card("ms-marco-minilm").roles == ("rerank",)


def test_a_loader_can_be_registered(monkeypatch):
    monkeypatch.setitem(EMBEDDER.loaders, "sentence-transformers", lambda card, loader: ColorEmbedder())
    assert isinstance(load_model(EMBEDDER, "siglip2-base"), ColorEmbedder)


def test_a_model_whose_parts_do_not_work_is_one_line(monkeypatch):
    def load(card, loader):
        raise type("PanicException", (BaseException,), {})("index out of range\nmore")

    monkeypatch.setitem(EMBEDDER.loaders, "sentence-transformers", load)
    with pytest.raises(ModelError, match=r"^'siglip2-base' does not work \(PanicException: index out of range\); .*\Z"):
        load_model(EMBEDDER, "siglip2-base")


class BrokenCaptioner:
    def caption(self, frames):
        raise ValueError("mean must have 3 elements\nmore")


@pytest.mark.parametrize("is_lazy", [False, True])
def test_a_model_of_unknown_origin_is_used_once_when_it_is_loaded(is_lazy, monkeypatch):
    monkeypatch.setitem(CAPTIONER.loaders, "transformers", lambda card, loader: BrokenCaptioner())
    loader, card = ModelLoader(OPTIONS), CAPTIONER.card("transformers:owner/name")
    load = loader.lazy(CAPTIONER, card).get if is_lazy else partial(loader.load, CAPTIONER, card)
    message = (
        r"^'transformers:owner/name' does not work \(ValueError: mean must have 3 elements\); fetch it again, .*\Z"
    )
    with pytest.raises(ModelError, match=message):
        load()


def test_released_models_and_services_are_not_tried(monkeypatch):
    for name, family in (("florence-2-base", "florence-2"), ("openai:name", "openai")):
        monkeypatch.setitem(CAPTIONER.loaders, family, lambda card, loader: BrokenCaptioner())
        load_model(CAPTIONER, name, OPTIONS)


def test_a_lazy_model_is_loaded_once_for_all_roles_with_the_same_loader():
    loaded = []

    def load(card, loader):
        loaded.append((card.name, loader.options.device))
        return object()

    one, other = ModelRole(("describe",), {"florence-2": load}), ModelRole(("detect",), {"florence-2": load})
    loader = ModelLoader(OPTIONS)
    card = find_model("florence-2-base", "describe")
    values = loader.lazy(one, None, card), loader.lazy(other, card)
    assert loaded == []
    assert values[0].get() is values[1].get() and loaded == [("florence-2-base", "cpu")]
    assert loader.lazy(one, find_model("siglip2-base")) is None and loader.lazy(one) is None
    loader.load(one, card)
    assert len(loaded) == 2


def test_a_folder_that_was_pushed_to_a_hub_opens_by_its_name(tmp_path, monkeypatch):
    fetched = []

    def repository(self, name, **_):
        fetched.append(name)
        return tmp_path

    save_untrained(tmp_path)
    monkeypatch.setattr(Fetcher, "repository", repository)
    options = ModelOptions(device="cpu")
    for prefix in ("florence", "unicl"):
        assert load_model(EMBEDDER, f"{prefix}:owner/name", options).info.name == f"{prefix}:owner/name"
    assert fetched == ["owner/name"] * 2
    vqa = ModelLoader(options).lazy(VQA, VQA.card("florence:owner/name"))
    assert fetched == ["owner/name"] * 2
    assert vqa.get().answer(color_frame("red"), "What color is it?").answer
    assert fetched == ["owner/name"] * 3
