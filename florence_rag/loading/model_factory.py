"""The parts that FlorenceRAG.open names: models by their cards, loaded when they are first needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from florence_rag.embedding.base import Embedder, TextEmbedder
from florence_rag.errors import ModelError, StoreMismatchError
from florence_rag.loading.lazy import (
    LazyCaptioner,
    LazyDetector,
    LazyFlorence2,
    LazyMatcher,
    LazyMeterVQA,
    LazyRecognizer,
    LazyValue,
    LazyVQA,
)
from florence_rag.loading.model_options import ModelOptions
from florence_rag.models.registry import CARDS, ModelCard, Role, find_model, is_florence2
from florence_rag.perception.base import (
    ActionRecognizer,
    Captioner,
    Detector,
    Matcher,
    OCRReader,
    Reranker,
    VisualQA,
)


def open_embedder(name: str, access: ModelOptions | None = None, *, later: Sequence[ModelCard] = ()) -> Embedder:
    """The embedder of a model; ModelError for an unknown name, or where its files are not to be had.

    later: models that will be wanted besides, which are announced, or missed, together with this one.
    """
    card, access = find_model(name, "embed"), access or ModelOptions.from_environment()
    if card.family == "sentence-transformers":
        from florence_rag.embedding.sentence_transformers import SentenceTransformerEmbedder

        return SentenceTransformerEmbedder.from_pretrained(
            _folder(card, access, later=later),
            name=card.name,
            device=access.device,
            precision=access.precision,
            backend=access.backend,
            too_long=access.too_long,
        )
    if card.family == "azure":
        from florence_rag.embedding.azure import AzureEmbedder

        return AzureEmbedder(
            access.require_azure_endpoint(),
            key=access.azure_key,
            token=access.azure_token,
            model_version=card.source,  # type: ignore[arg-type]  # a card's source is one of the two versions
            name=card.name,
            too_long=access.too_long,
        )
    from florence_rag.embedding.florence import FlorenceEmbedder

    return FlorenceEmbedder.from_pretrained(
        _folder(card, access, later=later),
        card.name,
        device=access.device,
        precision=access.precision or "fp32",
        backend=access.backend,
        too_long=access.too_long,
    )


def open_text_embedder(name: str, access: ModelOptions | None = None) -> TextEmbedder:
    """The embedder of captions, texts and words read in pictures."""
    card, access = find_model(name, "embed texts"), access or ModelOptions.from_environment()
    from florence_rag.embedding.sentence_transformers import SentenceTransformerTextEmbedder

    return SentenceTransformerTextEmbedder.from_pretrained(
        _folder(card, access), name=card.name, device=access.device, too_long=access.too_long
    )


def open_vqa(name: str, access: ModelOptions | None = None) -> VisualQA:
    """The question-answering model of a name; ModelError where it has none."""
    card, access = find_model(name, "answer"), access or ModelOptions.from_environment()
    if card.family == "openai":
        from florence_rag.perception.openai_vqa import OpenAIVisionQA

        return OpenAIVisionQA(card.source, base_url=access.openai_url, api_key=access.openai_key)
    if card.family == "transformers":
        from florence_rag.perception.transformers_vqa import TransformersVQA

        return TransformersVQA.from_pretrained(_folder(card, access), name=card.name, device=access.device)
    if card.family == "florence-2":
        from florence_rag.perception.florence2 import Florence2

        return Florence2.from_pretrained(_folder(card, access), name=card.name, device=access.device)
    from florence_rag.perception.meter import MeterVQA

    return MeterVQA.from_pretrained(_folder(card, access, meter=True), device=access.device)


def open_captioner(name: str, access: ModelOptions | None = None) -> Captioner:
    """The model that describes pictures."""
    card, access = find_model(name, "describe"), access or ModelOptions.from_environment()
    if card.family == "florence":
        return _open_scene_captioner(card, access)
    if card.family not in ("florence-2", "transformers"):
        raise ModelError(f"a model of the family {card.family!r} cannot describe: name a Florence-2 or, say, a BLIP")
    folder = _folder(card, access)
    if card.family == "florence-2" or is_florence2(folder):
        from florence_rag.perception.florence2 import Florence2

        return Florence2.from_pretrained(folder, name=card.name, device=access.device)
    from florence_rag.perception.transformers_captioner import TransformersCaptioner

    return TransformersCaptioner.from_pretrained(folder, name=card.name, device=access.device)


def _open_scene_captioner(card: ModelCard, access: ModelOptions) -> Captioner:
    from florence_rag.perception.detector import DyHeadDetector
    from florence_rag.perception.meter import MeterVQA
    from florence_rag.perception.scene_captions import SceneCaptioner

    detector = DyHeadDetector.from_pretrained(card.detector, name=card.name, device=access.device)
    return SceneCaptioner(detector, MeterVQA.from_pretrained(card.meter, device=access.device))


def open_detector(name: str, access: ModelOptions | None = None, *, threshold: float = 0.5) -> Detector:
    """The model that finds things in pictures. threshold: the least confidence, of models that give one."""
    card, access = find_model(name, "detect"), access or ModelOptions.from_environment()
    if card.family == "florence":
        from florence_rag.perception.detector import DyHeadDetector

        return DyHeadDetector.from_pretrained(card.detector, name=card.name, device=access.device, threshold=threshold)
    if card.family != "florence-2":
        raise ModelError(f"a model of the family {card.family!r} cannot detect: name a Florence-2 or a DyHead detector")
    from florence_rag.perception.florence2 import Florence2

    return Florence2.from_pretrained(_folder(card, access), name=card.name, device=access.device)


def open_recognizer(name: str, access: ModelOptions | None = None) -> ActionRecognizer:
    """The model that says what happens in videos."""
    card, access = find_model(name, "action"), access or ModelOptions.from_environment()
    if card.family != "florence":
        raise ModelError(f"a model of the family {card.family!r} cannot recognise actions: name a folder with video/")
    from florence_rag.perception.actions import VideoCoSwinRecognizer

    return VideoCoSwinRecognizer.from_pretrained(card.video, name=card.name, device=access.device)


def open_reader() -> OCRReader:
    """The reader of words in pictures."""
    from florence_rag.perception.ocr import RapidOcrReader

    return RapidOcrReader()


def open_reranker(name: str, access: ModelOptions | None = None) -> Reranker:
    """The model that looks at hits again: a cross-encoder, or a METER that matches texts with pictures."""
    access = access or ModelOptions.from_environment()
    role: Role = "match" if name in CARDS and "match" in CARDS[name].roles else "rerank"
    card = find_model(name, role)
    if card.family in ("florence", "meter"):
        from florence_rag.perception.itm import MatcherReranker
        from florence_rag.perception.meter import MeterMatcher

        return MatcherReranker(MeterMatcher.from_pretrained(_folder(card, access, meter=True), device=access.device))
    from florence_rag.perception.cross_encoder import CrossEncoderReranker

    return CrossEncoderReranker.from_pretrained(_folder(card, access), name=card.name, device=access.device)


def check_not_another(card: ModelCard, filled_by: str, db: str) -> None:
    """StoreMismatchError, before a model is fetched in vain, if a database was surely filled by another one.

    What is known by its weights alone, such as a folder, is told apart when the database is opened.
    """
    if card.name != filled_by and {card.name, filled_by} <= CARDS.keys():
        raise StoreMismatchError(
            f"the database {db!r} was filled by {filled_by}, not by {card.name}; "
            "open it with that model, or index the files into a new database"
        )


def describer(name: str | None) -> ModelCard | None:
    """The card of what captions pictures: None for no name, and for "never"."""
    return None if name is None or name == "never" else find_model(name, "describe")


def lazy_captioner(name: str | None, access: ModelOptions) -> LazyCaptioner | None:
    """None for no name, and for "never"; a wrong name is told now."""
    if (card := describer(name)) is None:
        return None
    opening = partial(open_captioner, card.name, access)
    return LazyFlorence2(opening, card.name) if card.family == "florence-2" else LazyCaptioner(opening)


def lazy_detector(name: str | None, access: ModelOptions, captioner: LazyCaptioner | None = None) -> Detector | None:
    """None for no name, and for "never"; a wrong name is told now.

    captioner: what describes, which is the detector, too, where it is the same Florence-2.
    """
    if name is None or name == "never":
        return None
    card = find_model(name, "detect")
    if card.family != "florence-2":
        return LazyDetector(partial(open_detector, name, access))
    if isinstance(captioner, LazyFlorence2) and captioner.name == card.name:
        return captioner
    return LazyFlorence2(partial(open_captioner, name, access), card.name)


def lazy_recognizer(name: str | None, access: ModelOptions) -> LazyRecognizer | None:
    """None for no name, and for "never"; a wrong name is told now."""
    if name is None or name == "never":
        return None
    find_model(name, "action")
    return LazyRecognizer(partial(open_recognizer, name, access))


def lazy_vqa(name: str | None, access: ModelOptions) -> tuple[VisualQA | None, Matcher | None]:
    """What answers, and, where the same weights can also judge whether a text fits a picture, what matches."""
    if name is None:
        return None, None
    card = find_model(name, "answer")
    if card.family == "meter":
        return LazyMeterVQA(partial(open_vqa, name, access)), None
    if card.family != "florence":
        return LazyVQA(partial(open_vqa, name, access)), None
    if card.is_fetched_from or not _can_match(card.meter):
        return LazyMeterVQA(partial(open_vqa, name, access)), None
    from florence_rag.perception.meter import MeterMatcher, MeterVQA, load_meter

    shared = LazyValue(lambda: load_meter(card.meter, access.device))
    return LazyMeterVQA(lambda: MeterVQA(*shared())), LazyMatcher(lambda: MeterMatcher(*shared()))


def _can_match(folder: Path) -> bool:
    heads = json.loads((folder / "config.json").read_text("utf-8")).get("heads", ())
    return bool({"itm", "rank"} & set(heads))


def _folder(card: ModelCard, access: ModelOptions, *, meter: bool = False, later: Sequence[ModelCard] = ()) -> Path:
    """Where the files of a model lie on this machine, fetched if they have to be."""
    if not card.is_fetched_from and not Path(card.source).is_file():
        return _part(card, meter)
    from florence_rag.models.downloads import Fetcher

    fetcher = Fetcher(offline=access.offline, announce=access.announce, later=later)
    if card.is_fetched_from == "repository":
        return _part(replace(card, source=str(fetcher.repository(card.source, about=str(card)))), meter)
    from florence_rag.models.pretrained import released_folder

    return released_folder(card, fetcher)


def _part(card: ModelCard, meter: bool) -> Path:
    """Of a folder that may hold both towers and METER, the one that is wanted."""
    if card.family not in ("florence", "unicl", "meter"):
        return Path(card.source)
    return card.meter if meter else card.florence
