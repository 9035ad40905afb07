"""The models of an index by their names: checked before anything is downloaded, then loaded together."""

from dataclasses import dataclass
from typing import Any

from florence_rag.context import Models
from florence_rag.errors import ModelError
from florence_rag.loading import loaders
from florence_rag.loading.model_loader import ModelLoader, ModelRole
from florence_rag.loading.model_options import ModelOptions
from florence_rag.loading.query_encoders import load_embedder
from florence_rag.models.registry import RAPIDOCR, ModelCard


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The names of the models of an index, as `FlorenceRAG.open` takes them.

    A role without a model is None, or "never" if the default of the embedder is not wanted either.
    """

    embedder: str
    text_embedder: str | None = None
    vqa: str | None = None
    captioner: str | None = None
    detector: str | None = None
    action_recognizer: str | None = None
    reranker: str | None = None


def load_models(names: ModelNames, options: ModelOptions | None = None, *, indexing: bool = True) -> Models:
    """Load the embedders and the reranker, and prepare all other models to be loaded on first use.

    All names are checked before the first file is downloaded; a wrong one is a ModelError, as are missing files. A
    model that fills several roles is loaded once. If files may be indexed, the download of the captioner is announced.
    """
    embedder = loaders.EMBEDDER.card(names.embedder)
    text_embedder = _card(loaders.TEXT_EMBEDDER, names.text_embedder)
    vqa = _card(loaders.VQA, names.vqa)
    captioner = _card(loaders.CAPTIONER, names.captioner)
    detector = _card(loaders.DETECTOR, names.detector)
    recognizer = _card(loaders.ACTION_RECOGNIZER, names.action_recognizer)
    reranker = _card(loaders.RERANKER, names.reranker)
    florence2 = [card for card in (captioner, vqa) if card and card.family == "florence-2"]
    upcoming = [card for card in (text_embedder, captioner if indexing else None) if card]
    loader = ModelLoader(options, upcoming=upcoming)
    if loader.options.caption_px is not None and not captioner:
        raise ModelError("caption_px needs a captioner: name one, such as 'florence-2-base', or leave caption_px out")
    if indexing and loader.options.fetch_first:
        loader.require(loaders.EMBEDDER, embedder)
        if captioner:
            loader.require(loaders.CAPTIONER, captioner)
    return Models(
        embedder=load_embedder(loader, embedder),
        text_embedder=loader.load(loaders.TEXT_EMBEDDER, text_embedder) if text_embedder else None,
        vqa=loader.lazy(loaders.VQA, vqa),
        attention_vqa=loader.lazy(loaders.ATTENTION_VQA, vqa),
        matcher=loader.lazy(loaders.MATCHER, vqa if vqa and loaders.can_match(vqa) else None),
        captioner=loader.lazy(loaders.CAPTIONER, captioner),
        detector=loader.lazy(loaders.DETECTOR, detector, *florence2),
        grounder=loader.lazy(loaders.GROUNDER, detector, captioner, vqa),
        segmenter=loader.lazy(loaders.SEGMENTER, detector, captioner),
        action_recognizer=loader.lazy(loaders.ACTION_RECOGNIZER, recognizer),
        ocr_reader=loader.lazy(loaders.OCR_READER, RAPIDOCR),
        reranker=loader.load(loaders.RERANKER, reranker) if reranker else None,
    )


def _card(role: ModelRole[Any], name: str | None) -> ModelCard | None:
    return None if name is None or name == "never" else role.card(name)
