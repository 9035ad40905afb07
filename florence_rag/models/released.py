"""Released UniCL and METER checkpoints by their cards: fetched, converted once, opened from the converted folder."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

import torch

from florence_rag.errors import ModelError
from florence_rag.models.cards import ModelCard
from florence_rag.models.convert import convert, fetch_tokenizer
from florence_rag.models.downloads import Fetcher
from florence_rag.models.florence import FlorenceConfig


def released_folder(card: ModelCard, fetcher: Fetcher) -> Path:
    """The folder that from_pretrained opens, of a card of the family unicl or meter.

    Raises ModelError where the file is a checkpoint of the other family, or of neither.
    """
    checkpoint = fetcher.file(card.source, about=str(card)) if card.is_fetched_from else Path(card.source)
    folder = _converted_folder(checkpoint)
    if not folder.is_dir():
        tokenizer = fetch_tokenizer(checkpoint, fetcher)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            config = convert(checkpoint, scratch, tokenizer=tokenizer)
            if isinstance(config, FlorenceConfig) != (card.family == "unicl"):
                kind = "a dual tower, an embedder" if isinstance(config, FlorenceConfig) else "a METER, which answers"
                raise ModelError(f"{str(checkpoint)!r} holds {kind}; it was named for the other task")
            shutil.copytree(scratch, folder)
    return folder


def _converted_folder(checkpoint: Path) -> Path:
    """Another folder for another content; the file's size and time stand for it."""
    about = checkpoint.stat()
    state = f"{checkpoint.resolve()} {about.st_size} {about.st_mtime_ns}".encode()
    name = f"{checkpoint.stem}-{hashlib.blake2b(state, digest_size=6).hexdigest()}"
    return Path(torch.hub.get_dir()) / "florence_rag" / name
