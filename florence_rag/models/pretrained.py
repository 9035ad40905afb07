"""Released UniCL and METER checkpoints by their cards: fetched, converted once, opened from the converted folder."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import suppress
from pathlib import Path

import torch

from florence_rag.errors import ModelError
from florence_rag.models.arch_detection import config_of
from florence_rag.models.checkpoint_files import read_weights
from florence_rag.models.convert import convert, fetch_tokenizer
from florence_rag.models.downloads import Fetcher
from florence_rag.models.florence import FlorenceConfig
from florence_rag.models.registry import ModelCard


def released_folder(card: ModelCard, fetcher: Fetcher) -> Path:
    """The folder that from_pretrained opens, of a card of the family unicl or meter.

    Raises ModelError, with some of its keys, where the file is a checkpoint of the other family, or of neither.
    """
    checkpoint = fetcher.file(card.source, about=str(card)) if card.download_kind else Path(card.source)
    folder = _converted_folder(checkpoint)
    if not folder.is_dir():
        _check_family(card, checkpoint)
        tokenizer = fetch_tokenizer(checkpoint, fetcher)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            convert(checkpoint, Path(scratch) / "converted", tokenizer=tokenizer)
            with suppress(FileExistsError, NotADirectoryError):  # another process was faster
                (Path(scratch) / "converted").rename(folder)  # whole, or not at all
    return folder


def _check_family(card: ModelCard, checkpoint: Path) -> None:
    weights = read_weights(checkpoint)
    is_tower = isinstance(config_of(weights), FlorenceConfig)
    if is_tower != (card.family == "unicl"):
        kind = "a dual tower, which embeds" if is_tower else "a METER, which answers and matches"
        keys = ", ".join(sorted(weights)[:5])
        raise ModelError(f"{str(checkpoint)!r} is not what {card.name!r} was named for: it holds {kind} ({keys}, ...)")


def _converted_folder(checkpoint: Path) -> Path:
    """Another folder for another content; the file's size and time stand for it."""
    about = checkpoint.stat()
    state = f"{checkpoint.resolve()} {about.st_size} {about.st_mtime_ns}".encode()
    name = f"{checkpoint.stem}-{hashlib.blake2b(state, digest_size=6).hexdigest()}"
    return Path(torch.hub.get_dir()) / "florence_rag" / name
