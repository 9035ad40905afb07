"""Downloads published model files once into the caches of torch and Hugging Face; later runs need no network.

This is the only module that uses the network for weights, and only when a model is opened that is not cached.
"""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
from huggingface_hub import constants, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from florence_rag.errors import MissingModelError, ModelError, first_line
from florence_rag.models.registry import ModelCard, missing_files

NEVER_NEEDED = "*.bin *.h5 *.msgpack *.ot *.onnx *.gguf *.pt *.pth *.mlmodel onnx/* openvino/*".split()
"""Other formats of weights that repositories keep next to the safetensors."""

TIMEOUT_S = 30.0
BLOCK = 1 << 20

_MAX_COMMIT_BYTES = 100
_COMMIT = re.compile(rb"\w[\w.-]*")

Progress = Callable[[int, int | None], None]
"""Receives the downloaded bytes and the bytes in all, None if the server does not report them."""


@dataclass(frozen=True)
class Fetcher:
    """Returns files of models, downloaded if necessary.

    Args:
        offline: Whether to refuse all downloads.
        announce: Receives a line about each download before its first byte.
        progress: Called during the download of a single file; repositories show their own progress.
        later: Further models that the caller will open. Those that have to be downloaded are announced, or reported
            as missing, together with the first.
    """

    offline: bool = False
    announce: Callable[[str], None] | None = None
    progress: Progress | None = None
    later: Sequence[ModelCard] = ()

    def repository(self, name: str, *, only: Sequence[str] | None = None, about: str = "") -> Path:
        """Return the folder of a Hugging Face repository "owner/name", or of those of its files that match `only`.

        `about` is the line to announce. It is a MissingModelError if the files are not cached and cannot be downloaded.
        """
        fetch = partial(snapshot_download, name, allow_patterns=list(only or ["*"]), ignore_patterns=NEVER_NEEDED)
        offline = self.offline or constants.HF_HUB_OFFLINE
        _check_cache(name)
        try:
            folder = Path(str(fetch(local_files_only=True)))
            if offline or only or _is_complete(name, folder):
                return folder
        except LocalEntryNotFoundError as error:
            if offline:
                lost = error if isinstance(error, IncompleteSnapshotError) else None
                raise self._missing(_repository_hint(name), lost) from error
        self._announce(about or f"https://huggingface.co/{name}")
        try:
            return Path(str(fetch()))
        except RepositoryNotFoundError as error:
            raise ModelError(f"there is no repository {name!r} on Hugging Face, or it needs a login") from error
        except Exception as error:  # the hub's client has changed its HTTP library, and with it these errors, before
            raise self._missing(_repository_hint(name), error) from error

    def file(self, url: str, *, about: str = "", folder: Path | None = None) -> Path:
        """Return a published file, by default from torch.hub's cache; an interrupted download is resumed.

        Its SHA-256 is recorded next to it the first time; other content from the same URL is refused.
        """
        path = _cached_file(url, folder)
        if path.is_file():
            return path
        if self.offline:
            raise self._missing(_file_hint(url, path))
        self._announce(about or url)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        try:
            _download(url, part, self.progress)
        except (httpx.HTTPError, OSError) as error:
            raise self._missing(_file_hint(url, path), error) from error
        with part.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        record = path.with_name(f"{path.name}.sha256")
        if record.exists() and record.read_text().strip() != digest:
            part.unlink()
            raise ModelError(f"{url} has other content than the first time; if you expect that, delete {str(record)!r}")
        record.write_text(f"{digest}\n")
        part.rename(path)
        return path

    def _announce(self, line: str) -> None:
        if self.announce is not None:
            for each in (line, *(f"afterwards {card}" for card in self._later())):
                self.announce(each)

    def _missing(self, hint: str, error: Exception | None = None) -> MissingModelError:
        """Return an error that lists all missing files in one line."""
        reason = f" ({first_line(error)})" if error else ""
        hints = [hint]
        for card in self._later():
            is_file = card.download_kind == "file"
            hints.append(
                _file_hint(card.source, _cached_file(card.source)) if is_file else _repository_hint(card.source)
            )
        return MissingModelError(f"not on this machine and cannot be fetched{reason}: {'; '.join(hints)}")

    def _later(self) -> list[ModelCard]:
        return [card for card in self.later if card.download_kind and not is_local(card)]


def is_local(card: ModelCard) -> bool:
    """Return whether a model can be used without network: built in, or in the caches."""
    if card.family in ("azure", "openai"):
        return False
    if card.download_kind == "file":
        return _cached_file(card.source).is_file()
    if card.download_kind != "repository":
        return True
    _check_cache(card.source)
    try:
        folder = snapshot_download(card.source, local_files_only=True, ignore_patterns=NEVER_NEEDED)
    except LocalEntryNotFoundError:
        return False
    return any(Path(str(folder)).rglob("*.safetensors"))


def _check_cache(name: str) -> None:
    """Raise a ModelError if the cached copy of a repository leads out of its folder, which the hub's client follows."""
    root = Path(constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}")
    try:
        is_sound = _leads_inside(root.resolve())
    except (OSError, RuntimeError):  # links in a circle are a RuntimeError
        is_sound = False
    if not is_sound:
        problem = f"refs/main in the cache {str(root)!r} names no folder of that cache"
        raise ModelError(f"{problem}; delete the cache of this model, and fetch it again")


def _leads_inside(root: Path) -> bool:
    """Return whether refs/main names a folder in a cached copy, or is missing."""
    ref = root / "refs" / "main"
    if not os.path.lexists(ref):
        return True
    if ref.resolve() != ref or not ref.is_file() or ref.stat().st_size > _MAX_COMMIT_BYTES:
        return False
    commit = ref.read_bytes()
    snapshot = root / "snapshots" / os.fsdecode(commit)
    return bool(_COMMIT.fullmatch(commit)) and snapshot.resolve() == snapshot


def _is_complete(name: str, folder: Path) -> bool:
    """Return whether a cached copy, of which no listed file is missing, has all files; an old one lists none."""
    try:
        get_cached_repo_tree(name)
    except CachedRepoTreeNotFoundError:
        return not missing_files(folder)
    return True


def _cached_file(url: str, folder: Path | None = None) -> Path:
    return (folder or _torch_home() / "hub" / "checkpoints") / url.rsplit("/", 1)[-1]


def _torch_home() -> Path:
    """Return the folder that torch.hub uses, without importing PyTorch."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch").expanduser()


def _download(url: str, part: Path, progress: Progress | None) -> None:
    """Append the missing bytes to the partial file."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={done}-"} if done else {})}
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT_S) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the partial file is complete, but was not renamed
        response.raise_for_status()
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            done = 0  # the server sends the whole file again
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with part.open("ab" if done else "wb") as file:
            for block in response.iter_bytes(BLOCK):
                done += file.write(block)
                if progress is not None:
                    progress(done, total)
    if total is not None and done != total:
        raise OSError(f"only {done} of {total} bytes arrived; run it again to resume")


def _repository_hint(name: str) -> str:
    return (
        f"{name!r} (put the *.safetensors, *.json and tokenizer files of https://huggingface.co/{name}/tree/main "
        f"into a folder and name the folder instead, or its cache into {constants.HF_HUB_CACHE})"
    )


def _file_hint(url: str, path: Path) -> str:
    return f"the file {url} (put it at {str(path)!r})"
