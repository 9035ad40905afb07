import pytest

from florence_rag.errors import ModelError
from florence_rag.loading.index_models import ModelNames, load_models
from florence_rag.loading.loaders import CAPTIONER, DETECTOR, EMBEDDER, GROUNDER, SEGMENTER
from florence_rag.loading.model_options import ModelOptions
from florence_rag.models.registry import TINY
from florence_rag.testing import ColorEmbedder, color_frame
from tests.loading.stand_ins import stand_in
from tests.perception.tiny import save_florence2

OPTIONS = ModelOptions(offline=True, device="cpu")


@pytest.fixture
def colors(monkeypatch):
    """Load a ColorEmbedder for every embedder."""
    stand_in(monkeypatch, EMBEDDER, lambda card, loader: ColorEmbedder())


@pytest.mark.parametrize(
    "names",
    [
        {"text_embedder": "siglip2-base"},
        {"vqa": "siglip2-base"},
        {"captioner": "siglip2-base"},
        {"detector": "siglip2-base"},
        {"action_recognizer": "siglip2-base"},
        {"reranker": "siglip2-base"},
        {"vqa": "no-such-model"},
    ],
)
def test_a_wrong_name_is_an_error_before_anything_is_loaded(monkeypatch, names):
    monkeypatch.setitem(EMBEDDER.loaders, "florence", lambda card, loader: pytest.fail("a model was loaded"))
    with pytest.raises(ModelError, match=r"models with it: |no model 'no-such-model'"):
        load_models(ModelNames(TINY, **names), OPTIONS)


@pytest.mark.parametrize("name", [None, "never"])
def test_a_size_of_captioned_images_needs_a_captioner(name):
    with pytest.raises(ModelError, match="caption_px needs a captioner"):
        load_models(ModelNames(TINY, captioner=name), ModelOptions(offline=True, caption_px=384))


@pytest.mark.parametrize("name", [None, "never"])
def test_a_role_without_a_name_stays_empty(colors, name):
    models = load_models(ModelNames(TINY, captioner=name, detector=name, action_recognizer=name), OPTIONS)
    filled = [role for role, model in vars(models).items() if model is not None]
    assert filled == ["embedder", "ocr_reader"]


def test_florence_2_is_loaded_once_for_all_its_roles(colors, tmp_path, monkeypatch):
    folder, loaded = str(save_florence2(tmp_path)), []
    load = CAPTIONER.loaders["florence-2"]

    def counted(card, loader):
        loaded.append(card.name)
        return load(card, loader)

    for role in (CAPTIONER, DETECTOR, GROUNDER, SEGMENTER):
        monkeypatch.setitem(role.loaders, "florence-2", counted)
    models = load_models(ModelNames(TINY, captioner=folder, detector=folder), OPTIONS)
    assert loaded == []
    captioner = models.captioner.get()
    assert captioner is models.detector.get() is models.grounder.get() is models.segmenter.get()
    assert len(loaded) == 1


def test_a_florence_2_captioner_also_detects(colors, tmp_path):
    models = load_models(ModelNames(TINY, captioner=str(save_florence2(tmp_path))), OPTIONS)
    captioner = models.captioner.get()
    assert models.detector.get() is captioner and models.segmenter.get() is captioner
    other = load_models(ModelNames(TINY, captioner=str(tmp_path), detector=TINY), OPTIONS)
    assert other.detector.get() is not other.grounder.get() is other.captioner.get()


def test_florence_tiny_answers_matches_and_describes_with_one_meter(monkeypatch):
    from florence_rag.perception import meter

    opened, load = [], meter.load_meter

    def load_meter(folder, device=None):
        opened.append(folder)
        return load(folder, device)

    monkeypatch.setattr(meter, "load_meter", load_meter)
    models = load_models(ModelNames(TINY, captioner=TINY, vqa=TINY), OPTIONS)
    frame = color_frame("red")
    assert models.vqa.get().answer(frame, "What color is it?").answer
    assert models.attention_vqa.get() is models.vqa.get()
    assert models.matcher.get().match([frame], ["it"]).shape == (1,)
    assert isinstance(models.captioner.get().caption([frame])[0], str)
    assert len(opened) == 1
