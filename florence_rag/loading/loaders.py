"""The registry of loaders: for every role, the function that loads a model of each family.

A loader receives a card and the `ModelLoader`, and imports the libraries of its model only when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from florence_rag.embedding.base import Embedder, TextEmbedder
from florence_rag.errors import ModelError
from florence_rag.loading import smoke_tests
from florence_rag.loading.model_loader import Load, ModelLoader, ModelRole
from florence_rag.models.registry import ModelCard, model_type, read_config
from florence_rag.perception import base as perception

if TYPE_CHECKING:
    from florence_rag.models.meter_heads import MeterForMultipleTasks
    from florence_rag.models.processing import FlorenceProcessor
    from florence_rag.perception.detector import DyHeadDetector
    from florence_rag.perception.florence2 import Florence2
    from florence_rag.perception.meter import MeterMatcher, MeterVQA


def load_sentence_transformer(card: ModelCard, loader: ModelLoader) -> Embedder:
    """Load a dual encoder of sentence-transformers."""
    from florence_rag.embedding.sentence_transformers import SentenceTransformerEmbedder

    options = loader.options
    return SentenceTransformerEmbedder.from_pretrained(
        loader.fetch(card).source,
        name=card.name,
        device=options.device,
        precision=options.precision,
        backend=options.backend,
        too_long=options.too_long,
    )


def _azure(card: ModelCard, loader: ModelLoader) -> Embedder:
    from florence_rag.embedding.azure import AzureEmbedder
    from florence_rag.embedding.azure_client import AzureVisionClient

    options = loader.options
    if not options.azure_endpoint:
        raise ModelError(
            "the original Florence is a service: set AZURE_VISION_ENDPOINT and AZURE_VISION_KEY, "
            "or pass ModelOptions(azure_endpoint=..., azure_key=...)"
        )
    return AzureEmbedder(
        AzureVisionClient(options.azure_endpoint, key=options.azure_key, token=options.azure_token),
        model_version=card.source,  # type: ignore[arg-type]  # the source of such a card is one of the two versions
        name=card.name,
        too_long=options.too_long,
    )


def load_florence(card: ModelCard, loader: ModelLoader) -> Embedder:
    """Load a dual encoder of this package."""
    from florence_rag.embedding.florence import FlorenceEmbedder

    options = loader.options
    return FlorenceEmbedder.from_pretrained(
        loader.fetch(card).florence,
        card.name,
        device=options.device,
        precision=options.precision or "fp32",
        backend=options.backend,
        too_long=options.too_long,
    )


def _text_sentence_transformer(card: ModelCard, loader: ModelLoader) -> TextEmbedder:
    from florence_rag.embedding.sentence_transformers import SentenceTransformerTextEmbedder

    source, options = loader.fetch(card).source, loader.options
    return SentenceTransformerTextEmbedder.from_pretrained(
        source, name=card.name, device=options.device, too_long=options.too_long
    )


def _openai_vqa(card: ModelCard, loader: ModelLoader) -> perception.VisualQA:
    from florence_rag.perception.openai_vqa import OpenAIVisionQA

    return OpenAIVisionQA(card.source, base_url=loader.options.openai_url, api_key=loader.options.openai_key)


def _refuse_caption_px(card: ModelCard, loader: ModelLoader) -> None:
    if loader.options.caption_px is not None:
        raise ModelError(f"caption_px is for Florence-2, and {card.name!r} has a size of its own: leave it out")


def _openai_captioner(card: ModelCard, loader: ModelLoader) -> perception.Captioner:
    _refuse_caption_px(card, loader)
    from florence_rag.perception.openai_captioner import OpenAICaptioner

    return OpenAICaptioner(card.source, base_url=loader.options.openai_url, api_key=loader.options.openai_key)


def _transformers_vqa(card: ModelCard, loader: ModelLoader) -> perception.VisualQA:
    from florence_rag.perception.transformers_vqa import TransformersVQA

    return TransformersVQA.from_pretrained(loader.fetch(card).source, name=card.name, device=loader.options.device)


def _florence2(card: ModelCard, loader: ModelLoader) -> Florence2:
    from florence_rag.perception.florence2 import Florence2

    options = loader.options
    return Florence2.from_pretrained(
        loader.fetch(card).source, name=card.name, device=options.device, caption_px=options.caption_px
    )


def _meter(card: ModelCard, loader: ModelLoader) -> tuple[MeterForMultipleTasks, FlorenceProcessor]:
    from florence_rag.perception.meter import load_meter

    return load_meter(loader.fetch(card).meter, loader.options.device)


def _meter_vqa(card: ModelCard, loader: ModelLoader) -> MeterVQA:
    from florence_rag.perception.meter import MeterVQA

    return MeterVQA(*loader.shared(_meter, card).get())


def _meter_matcher(card: ModelCard, loader: ModelLoader) -> MeterMatcher:
    from florence_rag.perception.meter import MeterMatcher

    return MeterMatcher(*loader.shared(_meter, card).get())


def _scene_captioner(card: ModelCard, loader: ModelLoader) -> perception.Captioner:
    _refuse_caption_px(card, loader)
    from florence_rag.perception.scene_captions import SceneCaptioner

    detector, vqa = loader.shared(_dyhead, card).get(), loader.shared(_meter_vqa, card).get()
    return SceneCaptioner(detector, vqa)


def _transformers_captioner(card: ModelCard, loader: ModelLoader) -> perception.Captioner:
    local = loader.fetch(card)
    if model_type(local.source) == "florence2":
        return loader.shared(_florence2, card).get()
    _refuse_caption_px(card, loader)
    from florence_rag.perception.transformers_captioner import TransformersCaptioner

    return TransformersCaptioner.from_pretrained(local.source, name=card.name, device=loader.options.device)


def _dyhead(card: ModelCard, loader: ModelLoader) -> DyHeadDetector:
    from florence_rag.perception.detector import DyHeadDetector

    options = loader.options
    return DyHeadDetector.from_pretrained(
        loader.fetch(card).detector, name=card.name, device=options.device, threshold=options.detection_threshold
    )


def _video_coswin(card: ModelCard, loader: ModelLoader) -> perception.ActionRecognizer:
    from florence_rag.perception.actions import VideoCoSwinRecognizer

    return VideoCoSwinRecognizer.from_pretrained(loader.fetch(card).video, name=card.name, device=loader.options.device)


def _rapidocr(card: ModelCard, loader: ModelLoader) -> perception.OCRReader:
    from florence_rag.perception.ocr import RapidOcrReader

    return RapidOcrReader()


def _cross_encoder(card: ModelCard, loader: ModelLoader) -> perception.Reranker:
    from florence_rag.perception.cross_encoder import CrossEncoderReranker

    return CrossEncoderReranker.from_pretrained(loader.fetch(card).source, name=card.name, device=loader.options.device)


def _meter_reranker(card: ModelCard, loader: ModelLoader) -> perception.Reranker:
    return perception.MatcherReranker(_meter_matcher(card, loader))


def _calibrated(load: Load[Any]) -> Load[perception.VisualQA]:
    """Return a loader of a VQA model that applies the calibration in the folder of the model, if there is one."""

    def load_calibrated(card: ModelCard, loader: ModelLoader) -> perception.VisualQA:
        from florence_rag.perception.vqa_calibration import CalibratedVQA, VQACalibration

        vqa: perception.VisualQA = loader.shared(load, card).get()
        calibration = VQACalibration.read(loader.fetch(card).source)
        return CalibratedVQA(vqa, calibration) if calibration else vqa

    return load_calibrated


EMBEDDER = ModelRole[Embedder](
    ("embed",),
    {
        "florence": load_florence,
        "unicl": load_florence,
        "sentence-transformers": load_sentence_transformer,
        "azure": _azure,
    },
    "or use the model that is built in, for a new database: florence-rag index PATH --model florence-tiny",
    smoke_test=smoke_tests.embed,
)
TEXT_EMBEDDER = ModelRole[TextEmbedder](
    ("embed texts",),
    {"sentence-transformers": _text_sentence_transformer},
    "or make a database without a text embedder",
    smoke_test=smoke_tests.embed_texts,
)
VQA = ModelRole[perception.VisualQA](
    ("answer",),
    {
        "florence": _calibrated(_meter_vqa),
        "meter": _calibrated(_meter_vqa),
        "florence-2": _calibrated(_florence2),
        "transformers": _calibrated(_transformers_vqa),
        "openai": _openai_vqa,
    },
    "or name another model: florence-rag ask QUESTION --vqa NAME",
    smoke_test=smoke_tests.answer,
)
ATTENTION_VQA = ModelRole[perception.AttentionVQA](
    ("answer",), {"florence": _meter_vqa, "meter": _meter_vqa}, smoke_test=smoke_tests.attend
)
MATCHER = ModelRole[perception.Matcher](
    ("match",), {"florence": _meter_matcher, "meter": _meter_matcher}, smoke_test=smoke_tests.match
)
CAPTIONER = ModelRole[perception.Captioner](
    ("describe",),
    {
        "florence": _scene_captioner,
        "florence-2": _florence2,
        "transformers": _transformers_captioner,
        "openai": _openai_captioner,
    },
    "or leave captions out: florence-rag index PATH --captioner never",
    smoke_test=smoke_tests.caption,
)
DETECTOR = ModelRole[perception.Detector](
    ("detect",),
    {"florence": _dyhead, "florence-2": _florence2},
    "or use the one that is built in: florence-tiny",
    smoke_test=smoke_tests.detect,
)
GROUNDER = ModelRole[perception.Grounder](("detect",), {"florence-2": _florence2}, smoke_test=smoke_tests.ground)
SEGMENTER = ModelRole[perception.Segmenter](("detect",), {"florence-2": _florence2}, smoke_test=smoke_tests.segment)
ACTION_RECOGNIZER = ModelRole[perception.ActionRecognizer](
    ("action",), {"florence": _video_coswin}, smoke_test=smoke_tests.recognize
)
OCR_READER = ModelRole[perception.OCRReader](("ocr",), {"rapidocr": _rapidocr})
RERANKER = ModelRole[perception.Reranker](
    ("rerank", "match"),
    {"sentence-transformers": _cross_encoder, "florence": _meter_reranker, "meter": _meter_reranker},
    "or search without a reranker",
    smoke_test=smoke_tests.score,
)


def can_match(card: ModelCard) -> bool:
    """Return whether the METER of a local card has a head that matches texts with images."""
    if card.family != "florence" or card.download_kind:
        return False
    heads = read_config(card.meter / "config.json").get("heads", ())
    return bool({"itm", "rank"} & set(heads))
