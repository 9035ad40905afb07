"""The registry of models as data: a card per model. Importing it loads no neural network."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from florence_rag.errors import ModelError

ASSETS = Path(__file__).parent.parent / "assets"

Role = Literal["embed", "embed texts", "answer", "match", "describe", "rerank", "detect", "action", "ocr"]
"""What a model can do in an index: embed images and queries, embed texts, answer questions, match texts with images,
caption, rerank, detect objects, recognize actions, read text."""

Family = Literal[
    "florence", "unicl", "meter", "florence-2", "sentence-transformers", "transformers", "azure", "openai", "rapidocr"
]
"""How a model is loaded."""

_UNICL = "https://github.com/microsoft/UniCL/releases/download/v1.0"
_METER = "https://github.com/zdou0830/METER/releases/download"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What to know about a model before using it.

    Args:
        name: The name to use it by.
        family: How it is loaded.
        roles: What it can do.
        source: A folder or file, a repository "owner/name" of Hugging Face, a URL, or the name of a model at a service.
        training_data: What it was trained on, for a person.
        license: The license of the weights.
        parameters_m: The number of parameters in millions.
        size_mb: The size of the download in megabytes.
        paper: Its arXiv number or URL.
        published: The metrics that its authors report.
        default_vqa: The model that answers questions unless another one is named.
        default_captioner: The model that writes captions unless another one is named.
        default_detector: The model that finds objects unless another one is named.
    """

    name: str
    family: Family
    roles: tuple[Role, ...]
    source: str
    training_data: str
    license: str
    parameters_m: float | None = None
    size_mb: int | None = None
    paper: str = ""
    published: str = ""
    default_vqa: str | None = None
    default_captioner: str | None = None
    default_detector: str | None = None

    @property
    def florence(self) -> Path:
        """The folder of the dual encoder; a ModelError if there is none."""
        return self._part("florence", "an embedder")

    @property
    def meter(self) -> Path:
        """The folder of METER; a ModelError if there is none."""
        return self._part("meter", "a question-answering model")

    @property
    def detector(self) -> Path:
        """The folder of the detector; a ModelError if there is none."""
        return self._part("detector", "a detector")

    @property
    def video(self) -> Path:
        """The folder of the video network; a ModelError if there is none."""
        return self._part("video", "network for actions", "video-coswin")

    def _part(self, part: str, role: str, kind: str = "") -> Path:
        """Return the folder of a part, which may be the whole model; `kind` ends its model_type."""
        home = Path(self.source)
        folder = home if _model_type(home).endswith(kind or part) else home / part
        if not (folder / "config.json").is_file():
            raise ModelError(f"the model {self.name!r} has no {role}: {str(folder / 'config.json')!r} is missing")
        return folder

    @property
    def is_fetched_from(self) -> Literal["", "file", "repository"]:
        """What must be downloaded first; "" for models on this machine and for services."""
        if self.source.startswith("https://"):
            return "file"
        here = self.family in ("azure", "openai") or Path(self.source).exists()
        return "" if here else "repository"

    def __str__(self) -> str:
        """One line for a person who is about to download the model."""
        size = f"{self.size_mb} MB, " if self.size_mb else ""
        return f"{self.name} ({self.source}): {size}licence {self.license}; knows {self.training_data}"


def _florence2(name: str, size: str, parameters_m: float, published: str) -> ModelCard:
    return ModelCard(
        name=name,
        family="florence-2",
        roles=("describe", "detect", "answer") if name.endswith("-ft") else ("describe", "detect"),
        source=f"florence-community/{size}",
        training_data="photographs, drawings and documents (FLD-5B: 126M pictures)",
        license="MIT",
        parameters_m=parameters_m,
        size_mb=round(4 * parameters_m),
        paper="2311.06242",
        published=published,
    )


def _meter(name: str, address: str, role: Role, parameters_m: float, published: str) -> ModelCard:
    return ModelCard(
        name=name,
        family="meter",
        roles=(role,),
        source=f"{_METER}/{address}",
        training_data="photographs (COCO, Visual Genome, Conceptual Captions, SBU)",
        license="MIT",
        parameters_m=parameters_m,
        size_mb=round(4 * parameters_m),
        paper="2111.02387",
        published=published,
    )


def _azure(version: str, languages: str) -> ModelCard:
    return ModelCard(
        name=f"azure-florence-{version}",
        family="azure",
        roles=("embed",),
        source=version,
        training_data=f"photographs, {languages}; the original Florence, a paid service that retires on 2028-09-25",
        license="Azure terms of service",
        parameters_m=893,
        paper="2111.11432",
        published="of the article's model, zero-shot: ImageNet 83.7 top-1; Flickr30k text-to-image R@1 76.7; COCO 47.2",
        default_vqa="blip-vqa-base",
    )


_ASKED = ", with a prompt for questions that was not published"

_ALL = (
    ModelCard(
        name="florence-tiny",
        family="florence",
        roles=("embed", "answer", "match", "describe", "detect", "action"),
        source=str(ASSETS / "florence_tiny"),
        training_data="only the drawn street world it was trained on; photographs need a model trained on photographs",
        license="MIT",
        parameters_m=9.8,
        size_mb=20,
        paper="2111.11432",
        published="see docs/model_card.md",
        default_vqa="florence-tiny",
        default_detector="florence-tiny",
    ),
    ModelCard(
        name="siglip2-base",
        family="sentence-transformers",
        roles=("embed",),
        source="google/siglip2-base-patch16-224",
        training_data="photographs and drawings, texts in many languages (WebLI)",
        license="Apache-2.0",
        parameters_m=375,
        size_mb=1500,
        paper="2502.14786",
        published="ImageNet zero-shot 78.2; COCO R@1 text-to-image 52.1, image-to-text 68.9",
        default_vqa="blip-vqa-base",
        default_captioner="florence-2-base",
    ),
    ModelCard(
        name="clip-vit-b-32",
        family="sentence-transformers",
        roles=("embed",),
        source="sentence-transformers/clip-ViT-B-32",
        training_data="photographs and drawings, English texts (400M pairs of the web)",
        license="MIT",
        parameters_m=151,
        size_mb=605,
        paper="2103.00020",
        published="ImageNet zero-shot 63.3",
        default_vqa="blip-vqa-base",
    ),
    ModelCard(
        name="qwen3-vl-embedding-2b",
        family="sentence-transformers",
        roles=("embed",),
        source="Qwen/Qwen3-VL-Embedding-2B",
        training_data="photographs, documents and screens, texts in many languages; wants a GPU",
        license="Apache-2.0",
        parameters_m=2130,
        size_mb=4260,
        default_vqa="blip-vqa-base",
    ),
    ModelCard(
        name="unicl-swin-tiny",
        family="unicl",
        roles=("embed",),
        source=f"{_UNICL}/in21k_yfcc14m_gcc15m.pth",
        training_data="photographs, English texts (ImageNet-21K, YFCC-14M, GCC-15M)",
        license="MIT",
        parameters_m=91.3,
        size_mb=365,
        paper="2204.03610",
        published="ImageNet zero-shot 40.5 for the Swin-T of ImageNet-21K and YFCC-14M",
        default_vqa="blip-vqa-base",
    ),
    ModelCard(
        name="unicl-swin-base",
        family="unicl",
        roles=("embed",),
        source=f"{_UNICL}/in21k_yfcc14m_gcc15m_swin_base.pth",
        training_data="photographs, English texts (ImageNet-21K, YFCC-14M, GCC-15M)",
        license="MIT",
        parameters_m=150.7,
        size_mb=603,
        paper="2204.03610",
        published="ImageNet zero-shot 52.2",
        default_vqa="blip-vqa-base",
    ),
    _azure("2023-04-15", "texts in 102 languages"),
    _azure("2022-04-11", "English texts"),
    _florence2("florence-2-base", "Florence-2-base", 231, "COCO captions zero-shot CIDEr 133.0"),
    _florence2("florence-2-large", "Florence-2-large", 777, "COCO captions zero-shot CIDEr 135.6"),
    _florence2(
        "florence-2-base-ft", "Florence-2-base-ft", 231, f"COCO captions CIDEr 140.0; VQAv2 test-dev 79.7{_ASKED}"
    ),
    _florence2(
        "florence-2-large-ft", "Florence-2-large-ft", 777, f"COCO captions CIDEr 143.3; VQAv2 test-dev 81.7{_ASKED}"
    ),
    _meter("meter-clip16-vqa", "checkpoint/meter_clip16_288_roberta_vqa.ckpt", "answer", 327, "VQAv2 test-dev 77.68"),
    _meter("meter-clip16", "checkpoint/meter_clip16_288_roberta_pretrain.ckpt", "match", 359, ""),
    _meter(
        "meter-clip16-flickr",
        "checkpoint/meter_clip16_288_roberta_flickr.ckpt",
        "match",
        320,
        "Flickr30k R@1 text-to-image 82.2, image-to-text 94.3",
    ),
    _meter(
        "meter-clip16-coco",
        "checkpoint/meter_clip16_288_roberta_coco.ckpt",
        "match",
        320,
        "COCO R@1 text-to-image 57.1, image-to-text 76.2",
    ),
    _meter("meter-swin-base", "checkpoint2/meter_swinbase_384_roberta_pretrain.ckpt", "match", 367, ""),
    ModelCard(
        name="blip-vqa-base",
        family="transformers",
        roles=("answer",),
        source="Salesforce/blip-vqa-base",
        training_data="photographs (COCO, Visual Genome, Conceptual Captions, SBU; VQAv2)",
        license="BSD-3-Clause",
        parameters_m=385,
        size_mb=1540,
        paper="2201.12086",
        published="VQAv2 test-dev 78.25",
    ),
    ModelCard(
        name="vilt-vqa",
        family="transformers",
        roles=("answer",),
        source="dandelin/vilt-b32-finetuned-vqa",
        training_data="photographs (COCO, Visual Genome, Conceptual Captions, SBU; VQAv2)",
        license="Apache-2.0",
        parameters_m=118,
        size_mb=470,
        paper="2102.03334",
        published="VQAv2 test-dev 71.26",
    ),
    ModelCard(
        name="all-minilm-l6",
        family="sentence-transformers",
        roles=("embed texts",),
        source="sentence-transformers/all-MiniLM-L6-v2",
        training_data="English sentences (1.17 billion pairs)",
        license="Apache-2.0",
        parameters_m=22.7,
        size_mb=91,
        paper="1908.10084",
    ),
    ModelCard(
        name="multilingual-minilm",
        family="sentence-transformers",
        roles=("embed texts",),
        source="sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        training_data="sentences in 50 languages",
        license="Apache-2.0",
        parameters_m=118,
        size_mb=471,
        paper="2004.09813",
    ),
    ModelCard(
        name="ms-marco-minilm",
        family="sentence-transformers",
        roles=("rerank",),
        source="cross-encoder/ms-marco-MiniLM-L6-v2",
        training_data="English questions and passages (MS MARCO); of pictures it sees their captions and words",
        license="Apache-2.0",
        parameters_m=22.7,
        size_mb=91,
        paper="1908.10084",
    ),
    ModelCard(
        name="qwen3-vl-reranker-2b",
        family="sentence-transformers",
        roles=("rerank",),
        source="Qwen/Qwen3-VL-Reranker-2B",
        training_data="photographs, documents and screens, texts in many languages; wants a GPU",
        license="Apache-2.0",
        parameters_m=2130,
        size_mb=4260,
    ),
)
RAPIDOCR = ModelCard(
    name="rapidocr",
    family="rapidocr",
    roles=("ocr",),
    source="",
    training_data="text in Latin, Chinese and Japanese script (PP-OCR)",
    license="Apache-2.0",
)
"""The only model that reads text in images. It comes with the package rapidocr, and needs no name."""

CARDS = MappingProxyType({card.name: card for card in _ALL})

TINY = "florence-tiny"
DEFAULT = "siglip2-base"
"""The embedder of a new database if no model is named."""

_FAMILIES: dict[Role, Family] = {
    "embed": "sentence-transformers",
    "embed texts": "sentence-transformers",
    "rerank": "sentence-transformers",
    "answer": "transformers",
    "describe": "transformers",
    "detect": "florence-2",
    "action": "florence",
    "ocr": "rapidocr",
    "match": "meter",
}
"""The family of a repository by its role, if nothing else is known."""

_PREFIXES: tuple[Family, ...] = (
    "sentence-transformers",
    "transformers",
    "florence-2",
    "openai",
    "florence",
    "unicl",
    "meter",
)


def find_model(name: str, role: Role = "embed") -> ModelCard:
    """Find the card of a model for a role.

    Args:
        name: A model of the registry; a folder or a checkpoint file; a repository "owner/name"; any of these after the
            family that loads it, as in "transformers:owner/name"; or "openai:MODEL" for a model behind a service.
        role: What the model is to do.

    Returns:
        The card of the registry, or a new one.

    Raises:
        ModelError: If the name is none of these, or a model of the registry lacks the role.
    """
    if card := CARDS.get(name):
        if role not in card.roles:
            able = ", ".join(other.name for other in _ALL if role in other.roles)
            raise ModelError(f"the model {name!r} lacks the role {role!r}; models with it: {able}")
        return card
    family, _, rest = name.partition(":")
    if family in _PREFIXES and rest:
        source = str(Path(rest).expanduser().resolve()) if Path(rest).expanduser().exists() else rest
        return _card_of(name, next(known for known in _PREFIXES if known == family), role, source)
    path = Path(name).expanduser()
    if path.exists():
        return _card_of(str(path.resolve()), _family_of(path, role), role, str(path.resolve()))
    if name.count("/") == 1 and not name.startswith((".", "~", "/")):
        named = "florence-2" if role == "describe" and "florence-2" in name.lower() else _FAMILIES[role]
        return _card_of(name, named, role, name)
    raise ModelError(
        f"no model {name!r}; known: {', '.join(card.name for card in _ALL if role in card.roles)}; "
        "or give a folder, a checkpoint file or a repository 'owner/name'"
    )


def _card_of(name: str, family: Family, role: Role, source: str) -> ModelCard:
    card = ModelCard(name, family, (role,), source, "what its trainer taught it", "as its trainer says")
    parts = {part for part in ("meter", "detector") if family == "florence" and (Path(source) / part).is_dir()}
    card = replace(card, default_vqa=name) if "meter" in parts else card
    return replace(card, default_detector=name) if "detector" in parts else card


def _family_of(path: Path, role: Role) -> Family:
    """Recognize the family by the files that training or `save_pretrained` wrote."""
    if path.is_file():
        return "meter" if role in ("answer", "match") else "unicl"
    if any((path / part).is_dir() for part in ("florence", "meter", "detector", "video")):
        return "florence"
    kinds: dict[str, Family] = {
        "florence": "florence",
        "meter": "florence",
        "dyhead-detector": "florence",
        "video-coswin": "florence",
        "florence2": "florence-2",
    }
    return kinds.get(_model_type(path), _FAMILIES[role])


def _model_type(folder: Path) -> str:
    config = folder / "config.json"
    if not config.is_file():
        return ""
    try:
        return str(json.loads(config.read_text("utf-8")).get("model_type", ""))
    except ValueError as error:
        raise ModelError(f"{str(config)!r} is no JSON ({error}); fetch it again") from error


def is_florence2(folder: str | Path) -> bool:
    """Return whether a folder holds a Florence-2, whatever its name is."""
    return _model_type(Path(folder)) == "florence2"


def fingerprint(folder: Path) -> str:
    """Return a digest of the weights in a folder: 16 hex digits, equal for equal weights."""
    digest = hashlib.blake2b(digest_size=8)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"no weights in {str(folder)!r}: expected *.safetensors")
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
