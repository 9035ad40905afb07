"""Files of models that others publish: fetched once into the caches that torch and Hugging Face share, then offline.

The only module that goes to the network for weights, and only when a model is opened that is not there yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import torch
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from florence_rag.errors import ModelError
from florence_rag.models.registry import ModelCard

NEVER_NEEDED = "*.bin *.h5 *.msgpack *.ot *.onnx *.gguf *.pt *.pth *.mlmodel onnx/* openvino/*".split()
"""Other formats of weights that repositories keep next to the safetensors."""

TIMEOUT_S = 30.0
BLOCK = 1 << 20

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes in all, None where the server does not say."""


@dataclass(frozen=True)
class Fetcher:
    """Where files of models come from.

    offline: never go to the network. announce: told, before the first byte, what is about to be fetched.
    progress: called while a single file comes in; repositories show their own progress. later: models that will be
    wanted besides; those that are not here are told of, or missed, together with the first.
    """

    offline: bool = False
    announce: Callable[[str], None] | None = None
    progress: Progress | None = None
    later: Sequence[ModelCard] = ()

    def repository(self, name: str, *, only: Sequence[str] | None = None, about: str = "") -> Path:
        """The folder of a Hugging Face repository "owner/name". only: patterns of the files that are wanted.

        about: what to announce. Raises ModelError where it is neither here nor can be fetched.
        """
        fetch = partial(snapshot_download, name, allow_patterns=list(only or ["*"]), ignore_patterns=NEVER_NEEDED)
        try:
            return Path(str(fetch(local_files_only=True)))
        except LocalEntryNotFoundError as error:
            if self.offline or constants.HF_HUB_OFFLINE:
                raise self._absent(_wanted_repository(name)) from error
        self._announce(about or f"https://huggingface.co/{name}")
        try:
            return Path(str(fetch()))
        except RepositoryNotFoundError as error:
            raise ModelError(f"there is no repository {name!r} on Hugging Face, or it needs a login") from error
        except Exception as error:  # the hub's client has changed its HTTP library, and with it these errors, before
            raise self._absent(_wanted_repository(name), error) from error

    def file(self, url: str, *, about: str = "", folder: Path | None = None) -> Path:
        """A published file, by default in torch.hub's cache; what was cut off is gone on with.

        Its SHA-256 is recorded beside it the first time; another content under the same address is refused.
        """
        path = _place(url, folder)
        if path.is_file():
            return path
        if self.offline:
            raise self._absent(_wanted_file(url, path))
        self._announce(about or url)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        try:
            _download(url, part, self.progress)
        except (httpx.HTTPError, OSError) as error:
            raise self._absent(_wanted_file(url, path), error) from error
        _check_digest(part, path.with_name(f"{path.name}.sha256"), url)
        part.rename(path)
        return path

    def _announce(self, what: str) -> None:
        if self.announce is not None:
            for each in (what, *(f"afterwards {card}" for card in self._later())):
                self.announce(each)

    def _absent(self, wanted: str, error: Exception | None = None) -> ModelError:
        """One line for all that is missing."""
        reason = f" ({_first_line(error)})" if error else ""
        all_wanted = "; ".join([wanted, *map(_wanted, self._later())])
        return ModelError(f"not on this machine and cannot be fetched{reason}: {all_wanted}; {WITHOUT}")

    def _later(self) -> list[ModelCard]:
        return [card for card in self.later if card.download_kind and not is_here(card)]


def is_here(card: ModelCard) -> bool:
    """Whether a model can be used without network: built in, or in the caches."""
    if card.family in ("azure", "openai"):
        return False
    if card.download_kind == "file":
        return _place(card.source).is_file()
    try:
        return card.download_kind == "" or bool(
            snapshot_download(card.source, local_files_only=True, ignore_patterns=NEVER_NEEDED)
        )
    except LocalEntryNotFoundError:
        return False


def _place(url: str, folder: Path | None = None) -> Path:
    """Where a published file belongs: torch.hub's cache."""
    return (folder or Path(torch.hub.get_dir()) / "checkpoints") / url.rsplit("/", 1)[-1]


def _download(url: str, part: Path, progress: Progress | None) -> None:
    """Append the missing bytes to the partial file."""
    there = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={there}-", "Accept-Encoding": "identity"} if there else {"Accept-Encoding": "identity"}
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT_S) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # it was whole, only not yet renamed
        response.raise_for_status()
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            there = 0  # the server sends all of it again
        length = response.headers.get("Content-Length")
        total = there + int(length) if length else None
        with part.open("ab" if there else "wb") as file:
            for block in response.iter_bytes(BLOCK):
                there += file.write(block)
                if progress is not None:
                    progress(there, total)
    if total is not None and there != total:
        raise OSError(f"only {there} of {total} bytes came; run it again to go on")


def _check_digest(file: Path, record: Path, url: str) -> None:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if record.exists() and record.read_text().strip() != digest:
        file.unlink()
        raise ModelError(f"{url} is not the file that came the first time; if it may differ, delete {str(record)!r}")
    record.write_text(f"{digest}\n")


WITHOUT = "or use the model that is built in: --model florence-tiny"


def _wanted(card: ModelCard) -> str:
    if card.download_kind == "file":
        return _wanted_file(card.source, _place(card.source))
    return _wanted_repository(card.source)


def _wanted_repository(name: str) -> str:
    return (
        f"{name!r} (put the *.safetensors, *.json and tokenizer files of https://huggingface.co/{name}/tree/main "
        f"into a folder and name the folder instead, or its cache into {constants.HF_HUB_CACHE})"
    )


def _wanted_file(url: str, path: Path) -> str:
    return f"the file {url} (put it at {str(path)!r})"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
