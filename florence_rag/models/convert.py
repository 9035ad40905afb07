"""Converts released UniCL and METER checkpoints into folders that from_pretrained opens: weights, config, processor."""

import errno
import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import CLIPTokenizer, PreTrainedModel, RobertaTokenizer

from florence_rag.errors import ModelError, first_line
from florence_rag.models.arch_detection import Architecture, Config, detect, family_of
from florence_rag.models.checkpoint_files import Checkpoint, read_checkpoint
from florence_rag.models.checkpoints import load_released
from florence_rag.models.coswin import CoSwinConfig
from florence_rag.models.downloads import Fetcher
from florence_rag.models.florence import FlorenceConfig
from florence_rag.models.hyper_parameters import TRANSFORMS, parse_settings, read_settings_file
from florence_rag.models.meter import MeterConfig
from florence_rag.models.model_folder import open_part
from florence_rag.models.processing import FlorenceImageProcessor, FlorenceProcessor
from florence_rag.models.registry import ModelCard
from florence_rag.telemetry import get_logger

TOKENIZER_FILES = ("vocab.json", "merges.txt")
log = get_logger(__name__)

CLIP_TOKENIZER = "openai/clip-vit-base-patch32"
ROBERTA_TOKENIZER = "FacebookAI/roberta-base"


def fetch_tokenizer(checkpoint: Checkpoint, fetcher: Fetcher) -> Path:
    """Return the folder with the tokenizer that a checkpoint was trained with."""
    repository = _tokenizer_repository(family_of(checkpoint.weights))
    return fetcher.repository(repository, only=TOKENIZER_FILES, about=f"{repository}: {', '.join(TOKENIZER_FILES)}")


def _tokenizer_repository(family: type[Config]) -> str:
    return CLIP_TOKENIZER if family is FlorenceConfig else ROBERTA_TOKENIZER


def convert(
    checkpoint: str | Path | Checkpoint,
    folder: str | Path,
    *,
    tokenizer: str | Path,
    config: Config | str | Path | None = None,
    answers: Sequence[str] | None = None,
) -> Architecture:
    """Convert a released checkpoint of UniCL or METER into a new folder.

    Args:
        checkpoint: The file, or what `read_checkpoint` returns.
        folder: Where to write. It is complete or absent afterwards.
        tokenizer: A folder with vocab.json and merges.txt.
        config: The configuration, or a JSON, YAML or TOML file with a part of it, in the names of config.json or of the
            original training. What it does not say is read from the weights and from the settings of the checkpoint.
        answers: METER's answer vocabulary, in the order of its outputs.

    Raises:
        ModelError: If the checkpoint, the tokenizer, the configuration or the answers do not fit together, or if the
            folder exists or cannot be written.
    """
    folder = Path(folder)
    require_new(folder)
    checkpoint = checkpoint if isinstance(checkpoint, Checkpoint) else read_checkpoint(checkpoint)
    architecture, image_options = _architecture(checkpoint, config)
    processor = _build_processor(architecture.config, Path(tokenizer), image_options)
    final = architecture.config if answers is None else _with_answers(architecture.config, answers)
    try:
        model = load_released(checkpoint.weights, final)
    except (KeyError, ValueError, RuntimeError) as error:  # such as an unknown activation
        raise ModelError(f"the settings do not make a network: {type(error).__name__}: {error}") from error
    _save(model, processor, folder)
    return replace(architecture, config=final)


def require_new(folder: Path) -> None:
    """Raise a ModelError if there is something at the path of a folder, except an empty folder."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"the folder {str(folder)!r} exists; name a new one, or delete it first")


def _architecture(checkpoint: Checkpoint, config: Config | str | Path | None) -> tuple[Architecture, dict[str, Any]]:
    """Return the configuration of a checkpoint, and the options of its image processor that differ from the usual."""
    if isinstance(config, FlorenceConfig | MeterConfig):
        return Architecture(config, {}), {}
    family = family_of(checkpoint.weights)
    recorded = parse_settings(checkpoint.settings, family, f"the checkpoint {str(checkpoint.path)!r}")
    chosen = read_settings_file(Path(config), family) if config else None
    image = recorded.image | (chosen.image if chosen else {})
    return detect(checkpoint.weights, recorded, chosen), image


def _with_answers(config: Config, answers: Sequence[str]) -> MeterConfig:
    if not isinstance(config, MeterConfig) or "vqa" not in config.heads:
        raise ModelError("you passed answers, but the checkpoint has no head that answers; only METER for VQA has one")
    if len(answers) != config.num_answers:
        raise ModelError(f"you passed {len(answers)} answers, but the checkpoint has {config.num_answers} outputs")
    if repeated := [answer for answer, count in Counter(answers).items() if count > 1]:
        raise ModelError(f"the answers repeat {repeated[0]!r}; each output needs an answer of its own")
    return MeterConfig(**{**config.to_dict(), "answers": list(answers)})


def _build_processor(config: Config, folder: Path, image_options: Mapping[str, Any]) -> FlorenceProcessor:
    """Prepare pixels and texts as the released code does."""
    image: Any = config.image_config
    if isinstance(config, FlorenceConfig):
        text: Any = config.text_config
        tokenizer = _open_tokenizer(CLIPTokenizer, config, folder, text.max_position_embeddings)
        return FlorenceProcessor(
            FlorenceImageProcessor(size=image.image_size, **image_options), tokenizer, normalizes_text=True
        )
    usual = {} if isinstance(image, CoSwinConfig) else TRANSFORMS["clip"]
    image_processor = FlorenceImageProcessor(**{"size": image.image_size, "enlarge": 1.0, **usual, **image_options})
    return FlorenceProcessor(image_processor, _open_tokenizer(RobertaTokenizer, config, folder, config.max_text_length))


def _open_tokenizer(kind: type[Any], config: Config, folder: Path, max_length: int) -> Any:
    """Open a tokenizer, whose words and marks must be those of the network."""
    advice = f"take it from https://huggingface.co/{_tokenizer_repository(type(config))}"
    if missing := [name for name in TOKENIZER_FILES if not (folder / name).is_file()]:
        raise ModelError(f"{str(folder)!r} lacks {' and '.join(missing)} of the tokenizer; {advice}")
    try:
        tokenizer = open_part(kind, folder, model_max_length=max_length)
    except Exception as error:  # a damaged file raises errors of many kinds
        raise ModelError(f"{str(folder)!r} holds no readable tokenizer: {first_line(error)}; {advice}") from error
    text: Any = config.text_config
    pairs = [("number of words", len(tokenizer), text.vocab_size)]
    marks = ("bos_token_id", "eos_token_id", "pad_token_id")
    pairs += [(mark, getattr(tokenizer, mark), getattr(text, mark)) for mark in marks]
    for what, ours, theirs in pairs:
        if theirs is not None and ours != theirs:
            raise ModelError(
                f"the tokenizer in {str(folder)!r} does not fit, {what}: {ours}, of the checkpoint: {theirs}; {advice}"
            )
    return tokenizer


def _save(model: PreTrainedModel, processor: FlorenceProcessor, folder: Path) -> None:
    """Write a folder that is complete or absent."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if size > (free := shutil.disk_usage(folder.parent).free):
            raise OSError(errno.ENOSPC, f"{free / 1e6:.0f} MB are free")
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            model.save_pretrained(Path(scratch) / "new")
            processor.save_pretrained(Path(scratch) / "new")
            with suppress(FileNotFoundError):
                folder.rmdir()  # an empty one
            (Path(scratch) / "new").rename(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ModelError(
            f"the model, {size / 1e6:.0f} MB, cannot be written to {str(folder)!r}: {reason}; name another folder"
        ) from error


def converted_folder(card: ModelCard, fetcher: Fetcher) -> Path:
    """Return the folder of a UniCL or METER checkpoint, which is downloaded and converted the first time."""
    checkpoint = fetcher.file(card.source, about=str(card)) if card.download_kind else Path(card.source)
    stat = checkpoint.stat()
    state = f"{checkpoint.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()
    name = f"{checkpoint.stem}-{hashlib.blake2b(state, digest_size=6).hexdigest()}"
    folder = Path(torch.hub.get_dir()) / "florence_rag" / name
    if not folder.is_dir():
        content = read_checkpoint(checkpoint)
        _check_family(card, content)
        tokenizer = fetch_tokenizer(content, fetcher)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            conversion = convert(content, Path(scratch) / "converted", tokenizer=tokenizer)
            with suppress(FileExistsError, NotADirectoryError):  # another process was faster
                (Path(scratch) / "converted").rename(folder)  # atomic: the folder is complete or absent
        if guessed := guesses_to_text(conversion.guessed):
            log.warning("%s: %s", checkpoint.name, guessed)
    return folder


def guesses_to_text(guessed: Mapping[str, Any]) -> str:
    """Return a sentence about guessed settings, "" if there are none."""
    listed = ", ".join(f"{name} = {value}" for name, value in guessed.items())
    return f"guessed {listed}; the file of `florence-rag convert --config` can correct it" if listed else ""


def _check_family(card: ModelCard, checkpoint: Checkpoint) -> None:
    family = family_of(checkpoint.weights)
    is_dual_encoder = family is FlorenceConfig
    if family is not {"unicl": FlorenceConfig, "meter": MeterConfig}.get(card.family):
        kind = "a dual encoder, which embeds" if is_dual_encoder else "a METER, which answers and matches"
        keys = ", ".join(sorted(checkpoint.weights)[:5])
        raise ModelError(
            f"{str(checkpoint.path)!r} does not fit the role of {card.name!r}: it holds {kind} ({keys}, ...)"
        )
