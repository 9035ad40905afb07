"""The registry of models: a card per model of registry.toml. Importing it loads no neural network."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

from florence_rag.errors import InputError, ModelError, first_line
from florence_rag.json_values import parse_json
from florence_rag.text_arguments import to_path

PACKAGE = Path(__file__).parents[1]
ASSETS = PACKAGE / "assets"

_MAX_SETTINGS_BYTES = 16 << 20

_USUAL_FILES = (
    ("config.json",),
    ("*.safetensors",),
    ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model"),
    ("tokenizer_config.json",),
)
"""What every folder of transformers contains, each with other files that can take its place."""
_IMAGE_SETTINGS = ("preprocessor_config.json", "processor_config.json")

Role = Literal["embed", "embed texts", "answer", "match", "describe", "rerank", "detect", "action", "ocr"]
"""What a model can do in an index: embed images and queries, embed texts, answer questions, match texts with images,
caption, rerank, detect objects, recognize actions, read text."""

Family = Literal[
    "florence", "unicl", "meter", "florence-2", "sentence-transformers", "transformers", "azure", "openai", "rapidocr"
]
"""How a model is loaded."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What to know about a model before using it.

    Args:
        name: The name to use it by.
        family: How it is loaded.
        roles: What it can do.
        source: A folder or file, a repository "owner/name" of Hugging Face, a URL, or the name of a model at a service.
        training_data: What it was trained on, in words.
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
        return self._part("florence", "embedder")

    @property
    def meter(self) -> Path:
        """The folder of METER; a ModelError if there is none."""
        return self._part("meter", "question-answering model")

    @property
    def detector(self) -> Path:
        """The folder of the detector; a ModelError if there is none."""
        return self._part("detector", "detector")

    @property
    def video(self) -> Path:
        """The folder of the video network; a ModelError if there is none."""
        return self._part("video", "network for actions", "video-coswin")

    def _part(self, part: str, role: str, kind: str = "") -> Path:
        """Return the folder of a part, which is the whole model if its model_type ends in `kind`, by default `part`."""
        root = Path(self.source)
        folder = root if model_type(root).endswith(kind or part) else root / part
        if not (folder / "config.json").is_file():
            raise ModelError(f"the model {self.name!r} has no {role}: {str(folder / 'config.json')!r} is missing")
        return folder

    @property
    def download_kind(self) -> Literal["", "file", "repository"]:
        """What has to be downloaded; "" for models on this machine and for services."""
        if self.source.startswith("https://"):
            return "file"
        return "" if self.family in ("azure", "openai") or Path(self.source).exists() else "repository"

    def __str__(self) -> str:
        """Describe the model in one line to a user who is about to download it."""
        size = f"{self.size_mb} MB, " if self.size_mb else ""
        return f"{self.name} ({self.source}): {size}license {self.license}; trained on {self.training_data}"


def _read_cards() -> dict[str, ModelCard]:
    tables: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    for table in tables.values():
        table["roles"] = tuple(table["roles"])
        if table["family"] == "florence":
            table["source"] = str(PACKAGE / table["source"])
    return {name: ModelCard(name, **table) for name, table in tables.items()}


CARDS: Mapping[str, ModelCard] = MappingProxyType(_read_cards())

RAPIDOCR = ModelCard(
    name="rapidocr",
    family="rapidocr",
    roles=("ocr",),
    source="",
    training_data="text in Latin, Chinese and Japanese script (PP-OCR)",
    license="Apache-2.0",
)
"""The only model that reads text in images. It comes with the package rapidocr, and needs no name."""

TINY = "florence-tiny"
DEFAULT = "siglip2-base"
"""The embedder of a new database if no model is named."""

_REPOSITORY = re.compile(r"(?!.*(--|\.\.|\.git$))(\w[\w.-]{0,95}(?<![.-])/)?\w[\w.-]{0,95}(?<![.-])", re.ASCII)

_FAMILY_BY_ROLE: dict[Role, Family] = {
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

_FAMILY_BY_MODEL_TYPE: dict[str, Family] = {
    "florence": "florence",
    "meter": "florence",
    "dyhead-detector": "florence",
    "video-coswin": "florence",
    "florence2": "florence-2",
}


def find_model(name: str, role: Role = "embed") -> ModelCard:
    """Return the card of a model for a role, that of the registry or a new one; raise ModelError if there is none.

    `name` is a model of the registry; a folder or a checkpoint file; a repository "owner/name"; any of these after the
    family that loads it, as in "transformers:owner/name"; or "openai:MODEL" for a model behind a service.
    """
    able = ", ".join(card.name for card in CARDS.values() if role in card.roles)
    if card := CARDS.get(name):
        if role not in card.roles:
            raise ModelError(f"the model {name!r} lacks the role {role!r}; models with it: {able}")
        return card
    family, _, rest = name.partition(":")
    if rest and family in {*get_args(Family)} - {"azure", "rapidocr"}:
        path = to_path(rest)
        if not (_exists(path) or family == "openai" or rest.startswith("https://") or _REPOSITORY.fullmatch(rest)):
            raise ModelError(
                f"{name!r:.200}: there is no folder or file {rest!r:.200}, and no repository has such a name"
            )
        return _new_card(name, cast(Family, family), role, str(path.resolve()) if _exists(path) else rest)
    path = to_path(name)
    if _exists(path):
        return _new_card(str(path.resolve()), _detect_family(path, role), role, str(path.resolve()))
    if is_repository(name):
        is_captioner = role == "describe" and "florence-2" in name.lower()
        return _new_card(name, "florence-2" if is_captioner else _FAMILY_BY_ROLE[role], role, name)
    raise ModelError(
        f"no model {name!r:.200}; known: {able}; or give a folder, a checkpoint file or a repository 'owner/name'"
    )


def is_repository(name: str) -> bool:
    """Return whether a name has the form "owner/name" of the repositories of Hugging Face."""
    return "/" in name and bool(_REPOSITORY.fullmatch(name))


def _exists(path: Path) -> bool:
    """Return whether there is a file or folder, which no name has that the system refuses."""
    try:
        return path.exists()
    except OSError:
        return False


def _new_card(name: str, family: Family, role: Role, source: str) -> ModelCard:
    card = ModelCard(name, family, (role,), source, training_data="data that is not recorded", license="not recorded")
    if family == "florence" and (Path(source) / "meter").is_dir():
        card = replace(card, default_vqa=name)
    if family == "florence" and (Path(source) / "detector").is_dir():
        card = replace(card, default_detector=name)
    return card


def _detect_family(path: Path, role: Role) -> Family:
    """Detect the family from the files that training or `save_pretrained` wrote."""
    if path.is_file():
        return "unicl" if role == "embed" else "meter"
    if any((path / part).is_dir() for part in ("florence", "meter", "detector", "video")):
        return "florence"
    return _FAMILY_BY_MODEL_TYPE.get(model_type(path), _FAMILY_BY_ROLE[role])


def read_json(path: Path) -> Any:
    """Return the content of a JSON file in the folder of a model, but not of its vocabularies, which may be larger."""
    try:
        if path.stat().st_size > _MAX_SETTINGS_BYTES:
            raise ModelError(f"{str(path)!r} is larger than {_MAX_SETTINGS_BYTES >> 20} MB, as no such file is")
        return parse_json(path.read_bytes())
    except (OSError, InputError) as error:
        raise ModelError(f"{str(path)!r} is not valid JSON ({first_line(error)}); fetch it again") from error


def read_config(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file in the folder of a model; an empty dictionary if there is no such file."""
    if not path.is_file():
        return {}
    if not isinstance(content := read_json(path), dict):
        raise ModelError(f"{str(path)!r} holds no JSON object; fetch it again")
    return content


def missing_files(folder: Path) -> list[str]:
    """Return the names of files that the folders of transformers have, and this one lacks.

    The libraries replace some of them by defaults, and report others in the words of whatever fails next.
    """
    names = {"*.safetensors" if path.suffix == ".safetensors" else path.name for path in folder.rglob("*")}
    config = read_config(folder / "config.json")
    parts = (config, *(part for part in config.values() if isinstance(part, dict)))
    sees = "vision_config" in config or any("image_size" in part for part in parts)
    usual = (*_USUAL_FILES, *([_IMAGE_SETTINGS] if sees else []))
    return [name for name, *others in usual if not names.intersection([name, *others])]


def model_type(folder: str | Path) -> str:
    """Return the name that transformers gives to the architecture of the model in a folder, "" if there is none."""
    return str(read_config(Path(folder) / "config.json").get("model_type", ""))


def state_file(name: str) -> Path:
    """Return the path of a file in which this package remembers something about the models of this machine."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "florence-rag" / name
