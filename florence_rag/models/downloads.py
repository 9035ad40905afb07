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
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from florence_rag.errors import ModelError
from florence_rag.models.cards import ModelCard

NEVER_NEEDED = "*.bin *.h5 *.msgpack *.ot *.onnx *.gguf *.pt *.pth *.mlmodel onnx/* openvino/*".split()
"""Other formats of weights that repositories keep beside the safetensors."""

TIMEOUT_S = 30.0
BLOCK = 1 << 20

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes in all, None where the server does not say."""


@dataclass(frozen=True)
class Fetcher:
    """Where files of models come from.

    offline: never go to the network. announce: told, before the first byte, what is about to be fetched.
    progress: called while a single file comes in; repositories show their own progress.
    """

    offline: bool = False
    announce: Callable[[str], None] | None = None
    progress: Progress | None = None

    def repository(self, name: str, *, only: Sequence[str] | None = None, about: str = "") -> Path:
        """The folder of a Hugging Face repository "owner/name". only: patterns of the files that are wanted.

        about: what to announce. Raises ModelError where it is neither here nor can be fetched.
        """
        fetch = partial(snapshot_download, name, allow_patterns=list(only or ["*"]), ignore_patterns=NEVER_NEEDED)
        try:
            return Path(str(fetch(local_files_only=True)))
        except LocalEntryNotFoundError as error:
            if self.offline or constants.HF_HUB_OFFLINE:
                raise ModelError(_absent_repository(name)) from error
        self._announce(about or f"https://huggingface.co/{name}")
        try:
            return Path(str(fetch()))
        except RepositoryNotFoundError as error:
            raise ModelError(f"there is no repository {name!r} on Hugging Face, or it needs a login") from error
        except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError) as error:
            raise ModelError(_absent_repository(name)) from error

    def file(self, url: str, *, about: str = "", folder: Path | None = None) -> Path:
        """A published file, by default in torch.hub's cache; what was cut off is gone on with.

        Its SHA-256 is recorded beside it the first time; another content under the same address is refused.
        """
        folder = folder or Path(torch.hub.get_dir()) / "checkpoints"
        path = folder / url.rsplit("/", 1)[-1]
        if path.is_file():
            return path
        if self.offline:
            raise ModelError(_absent(f"the file {url}", str(path)))
        self._announce(about or url)
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        try:
            _download(url, part, self.progress)
        except (httpx.HTTPError, OSError) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise ModelError(f"{_absent(f'the file {url}', str(path))} ({reason})") from error
        _check_digest(part, path.with_name(f"{path.name}.sha256"), url)
        part.rename(path)
        return path

    def _announce(self, what: str) -> None:
        if self.announce is not None:
            self.announce(what)


def is_here(card: ModelCard) -> bool:
    """Whether a model can be used without network: built in, or in the caches."""
    if card.family in ("azure", "openai"):
        return False
    if card.is_fetched_from == "file":
        return (Path(torch.hub.get_dir()) / "checkpoints" / card.source.rsplit("/", 1)[-1]).is_file()
    try:
        return card.is_fetched_from == "" or bool(snapshot_download(card.source, local_files_only=True))
    except LocalEntryNotFoundError:
        return False


def _download(url: str, part: Path, progress: Progress | None) -> None:
    """Append to part what is missing of it."""
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


def _absent_repository(name: str) -> str:
    return (
        f"the model {name!r} is not in the cache ({constants.HF_HUB_CACHE}) and cannot be fetched; download its "
        f"*.safetensors, *.json and tokenizer files from https://huggingface.co/{name}/tree/main into a folder and "
        f"name the folder instead, {WITHOUT}"
    )


def _absent(what: str, where: str) -> str:
    return f"{what} is not on this machine and cannot be fetched; put it at {where!r}, {WITHOUT}"
