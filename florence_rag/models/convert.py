"""Converts released UniCL and METER checkpoints into folders that from_pretrained opens: weights, config, processor."""

import hashlib
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTokenizer, RobertaTokenizer

from florence_rag.errors import ModelError
from florence_rag.models.arch_detection import config_of
from florence_rag.models.checkpoint_files import read_weights
from florence_rag.models.checkpoints import load_released
from florence_rag.models.coswin import CoSwinConfig
from florence_rag.models.downloads import Fetcher
from florence_rag.models.florence import FlorenceConfig
from florence_rag.models.meter import MeterConfig
from florence_rag.models.processing import CLIP_MEAN, CLIP_STD, FlorenceImageProcessor, FlorenceProcessor
from florence_rag.models.registry import ModelCard

TOKENIZER_FILES = ("vocab.json", "merges.txt")
CLIP_TOKENIZER = "openai/clip-vit-base-patch32"
ROBERTA_TOKENIZER = "FacebookAI/roberta-base"

Config = FlorenceConfig | MeterConfig


def fetch_tokenizer(checkpoint: str | Path, fetcher: Fetcher) -> Path:
    """Return the folder with the tokenizer that a checkpoint was trained with."""
    repository = _tokenizer_repository(config_of(read_weights(checkpoint)))
    return fetcher.repository(repository, only=TOKENIZER_FILES, about=f"{repository}: {', '.join(TOKENIZER_FILES)}")


def _tokenizer_repository(config: Config) -> str:
    return CLIP_TOKENIZER if isinstance(config, FlorenceConfig) else ROBERTA_TOKENIZER


def convert(
    checkpoint: str | Path,
    folder: str | Path,
    *,
    tokenizer: str | Path,
    config: Config | None = None,
    answers: Sequence[str] | None = None,
) -> Config:
    """Convert a released checkpoint of UniCL or METER into a folder, and return its configuration.

    `tokenizer` is a folder with vocab.json and merges.txt. The configuration is by default that of the weights, see
    arch_detection.py. `answers` are METER's answer vocabulary, in the order of its outputs.
    """
    weights = read_weights(checkpoint)
    config = config or config_of(weights)
    processor = _build_processor(config, Path(tokenizer))
    if answers is not None and isinstance(config, MeterConfig):
        if len(answers) != config.num_answers:
            raise ModelError(f"you passed {len(answers)} answers, but the checkpoint has {config.num_answers} outputs")
        config = MeterConfig(**{**config.to_dict(), "answers": list(answers)})
    load_released(weights, config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return config


def _build_processor(config: Config, folder: Path) -> FlorenceProcessor:
    """Prepare pixels and texts as the released code does."""
    if missing := [name for name in TOKENIZER_FILES if not (folder / name).is_file()]:
        raise ModelError(
            f"{str(folder)!r} lacks {' and '.join(missing)} of the tokenizer; "
            f"take them from https://huggingface.co/{_tokenizer_repository(config)}"
        )
    image: Any = config.image_config
    if isinstance(config, FlorenceConfig):
        text: Any = config.text_config
        tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=text.max_position_embeddings)
        return FlorenceProcessor(FlorenceImageProcessor(size=image.image_size), tokenizer, normalizes_text=True)
    is_clip = not isinstance(image, CoSwinConfig)
    options: dict[str, Any] = {"image_mean": CLIP_MEAN, "image_std": CLIP_STD, "scale_alpha": True} if is_clip else {}
    image_processor = FlorenceImageProcessor(size=image.image_size, enlarge=1.0, **options)
    return FlorenceProcessor(
        image_processor, RobertaTokenizer.from_pretrained(folder, model_max_length=config.max_text_length)
    )


def converted_folder(card: ModelCard, fetcher: Fetcher) -> Path:
    """Return the folder of a UniCL or METER checkpoint, which is downloaded and converted the first time."""
    checkpoint = fetcher.file(card.source, about=str(card)) if card.download_kind else Path(card.source)
    stat = checkpoint.stat()
    state = f"{checkpoint.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()
    name = f"{checkpoint.stem}-{hashlib.blake2b(state, digest_size=6).hexdigest()}"
    folder = Path(torch.hub.get_dir()) / "florence_rag" / name
    if not folder.is_dir():
        _check_family(card, checkpoint)
        tokenizer = fetch_tokenizer(checkpoint, fetcher)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            convert(checkpoint, Path(scratch) / "converted", tokenizer=tokenizer)
            with suppress(FileExistsError, NotADirectoryError):  # another process was faster
                (Path(scratch) / "converted").rename(folder)  # atomic: the folder is complete or absent
    return folder


def _check_family(card: ModelCard, checkpoint: Path) -> None:
    weights = read_weights(checkpoint)
    is_dual_encoder = isinstance(config_of(weights), FlorenceConfig)
    if is_dual_encoder != (card.family == "unicl"):
        kind = "a dual encoder, which embeds" if is_dual_encoder else "a METER, which answers and matches"
        keys = ", ".join(sorted(weights)[:5])
        raise ModelError(f"{str(checkpoint)!r} does not fit the role of {card.name!r}: it holds {kind} ({keys}, ...)")
