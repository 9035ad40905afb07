"""Every model that can be named, as data. Light: importing it loads no network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from florence_rag.errors import ModelError

ASSETS = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What to know of a model before using it.

    folder: holds florence/ (dual tower) and meter/ (question answering), each as save_pretrained writes it.
    knows: what the model was trained on, in words for a person. licence: of the weights.
    """

    name: str
    folder: Path
    knows: str
    licence: str

    @property
    def florence(self) -> Path:
        """Folder of the dual tower; ModelError where there is none."""
        return self._part("florence", "an embedder")

    @property
    def meter(self) -> Path:
        """Folder of METER; ModelError where there is none."""
        return self._part("meter", "a question-answering model")

    def _part(self, part: str, role: str) -> Path:
        folder = self.folder / part
        if not (folder / "config.json").is_file():
            raise ModelError(f"the model {self.name!r} has no {role}: {str(folder / 'config.json')!r} is missing")
        return folder


CARDS = MappingProxyType(
    {
        "florence-tiny": ModelCard(
            name="florence-tiny",
            folder=ASSETS / "florence_tiny",
            knows="only the drawn street world it was trained on; photographs need a model trained on photographs",
            licence="MIT",
        ),
    }
)
DEFAULT = "florence-tiny"


def find_model(name: str) -> ModelCard:
    """The card of a known model, or of a folder with florence/ and meter/ inside, as training writes it.

    Raises ModelError for a name that is neither.
    """
    if name in CARDS:
        return CARDS[name]
    folder = Path(name).expanduser()
    if folder.is_dir():
        return ModelCard(str(folder.resolve()), folder.resolve(), "what its trainer taught it", "as its trainer says")
    raise ModelError(f"no model {name!r}; known: {', '.join(CARDS)}; or give a folder that holds florence/ and meter/")


def fingerprint(folder: Path) -> str:
    """Digest of the weights in a folder: 16 hex digits, equal for equal weights."""
    digest = hashlib.blake2b(digest_size=8)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"no weights in {str(folder)!r}: expected *.safetensors")
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
