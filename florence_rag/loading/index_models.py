"""The models of an index by their names: checked before anything is downloaded, then loaded together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from florence_rag.context import Models
from florence_rag.errors import StoreMismatchError
from florence_rag.loading.loaders import (
    ACTION_RECOGNIZER,
    ATTENTION_VQA,
    CAPTIONER,
    DETECTOR,
    EMBEDDER,
    GROUNDER,
    MATCHER,
    OCR_READER,
    RERANKER,
    SEGMENTER,
    TEXT_EMBEDDER,
    VQA,
    can_match,
)
from florence_rag.loading.model_loader import ModelLoader, ModelRole
from florence_rag.loading.model_options import ModelOptions
from florence_rag.models.registry import CARDS, RAPIDOCR, ModelCard, find_model


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The names of the models of an index, as `FlorenceRAG.open` takes them.

    Args:
        embedder: The embedder.
        text_embedder: The embedder of captions, texts and OCR text. None for none, as for all roles below.
        vqa: The model that answers questions about images.
        captioner: The model that writes captions; "never" for none, even if the embedder has a default.
        detector: The model that finds objects; "never" for none.
        action_recognizer: The model that finds actions in videos; "never" for none.
        reranker: The model that scores the best hits again.
    """

    embedder: str
    text_embedder: str | None = None
    vqa: str | None = None
    captioner: str | None = None
    detector: str | None = None
    action_recognizer: str | None = None
    reranker: str | None = None

    def with_defaults(self) -> ModelNames:
        """Return the names with the defaults of the embedder's card where there is none.

        Raises:
            ModelError: If there is no such embedder.
        """
        card = find_model(self.embedder)
        return replace(
            self,
            vqa=self.vqa or card.default_vqa,
            captioner=self.captioner or card.default_captioner,
            detector=self.detector or card.default_detector,
        )


def load_models(names: ModelNames, options: ModelOptions | None = None, *, indexing: bool = True) -> Models:
    """Load the embedders and the reranker, and prepare all other models to be loaded on first use.

    All names are checked before the first file is downloaded.

    Args:
        names: The models.
        options: How to load them. By default `ModelOptions.from_environment()`.
        indexing: Whether files may be indexed, so that the download of the captioner is announced now.

    Returns:
        The models. A model that fills several roles is loaded once.

    Raises:
        ModelError: If a name is wrong, a model cannot fill its role, or the files of the embedders or of the reranker
            are missing.
    """
    embedder = EMBEDDER.card(names.embedder)
    text_embedder, reranker = _card(TEXT_EMBEDDER, names.text_embedder), _card(RERANKER, names.reranker)
    vqa, captioner, detector = _card(VQA, names.vqa), _card(CAPTIONER, names.captioner), _card(DETECTOR, names.detector)
    recognizer = _card(ACTION_RECOGNIZER, names.action_recognizer)
    florence2 = [card for card in (captioner, vqa) if card and card.family == "florence-2"]
    upcoming = [card for card in (text_embedder, captioner if indexing else None) if card]
    loader = ModelLoader(options, upcoming=upcoming)
    return Models(
        embedder=loader.load(EMBEDDER, embedder),
        text_embedder=loader.load(TEXT_EMBEDDER, text_embedder) if text_embedder else None,
        vqa=loader.lazy(VQA, vqa),
        attention_vqa=loader.lazy(ATTENTION_VQA, vqa),
        matcher=loader.lazy(MATCHER, vqa if vqa and can_match(vqa) else None),
        captioner=loader.lazy(CAPTIONER, captioner),
        detector=loader.lazy(DETECTOR, detector, *florence2),
        grounder=loader.lazy(GROUNDER, detector, captioner, vqa),
        segmenter=loader.lazy(SEGMENTER, detector, captioner),
        action_recognizer=loader.lazy(ACTION_RECOGNIZER, recognizer),
        ocr_reader=loader.lazy(OCR_READER, RAPIDOCR),
        reranker=loader.load(RERANKER, reranker) if reranker else None,
    )


def check_same_embedder(card: ModelCard, recorded: str, db: str) -> None:
    """Refuse an embedder by its name, before it is downloaded in vain.

    A model that is known only by its weights, such as one in a folder, is compared when the database is opened.
    """
    if card.name != recorded and {card.name, recorded} <= CARDS.keys():
        raise StoreMismatchError(
            f"the database {db!r} was filled by {recorded}, not by {card.name}; "
            "open it with that model, or index the files into a new database"
        )


def _card(role: ModelRole[Any], name: str | None) -> ModelCard | None:
    return None if name is None or name == "never" else role.card(name)
