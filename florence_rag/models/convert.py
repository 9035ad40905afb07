"""A released UniCL or METER checkpoint as a folder that from_pretrained opens: weights, configuration, processor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer, RobertaTokenizer

from florence_rag.errors import ModelError
from florence_rag.models.arch_detection import config_of
from florence_rag.models.checkpoint_files import read_weights
from florence_rag.models.checkpoints import METER, UNICL, filled
from florence_rag.models.configuration_meter import MeterConfig
from florence_rag.models.coswin import CoSwinConfig
from florence_rag.models.downloads import Fetcher
from florence_rag.models.florence import FlorenceConfig, FlorenceModel
from florence_rag.models.meter_heads import MeterForMultipleTasks, MeterForVisualReasoning
from florence_rag.models.processing import CLIP_MEAN, CLIP_STD, FlorenceImageProcessor, FlorenceProcessor

TOKENIZER_FILES = ("vocab.json", "merges.txt")
CLIP_TOKENIZER = "openai/clip-vit-base-patch32"
ROBERTA_TOKENIZER = "FacebookAI/roberta-base"

Config = FlorenceConfig | MeterConfig


def tokenizer_repository(config: Config) -> str:
    """The public repository whose vocab.json and merges.txt the checkpoint was trained with."""
    return CLIP_TOKENIZER if isinstance(config, FlorenceConfig) else ROBERTA_TOKENIZER


def fetch_tokenizer(checkpoint: str | Path, fetcher: Fetcher) -> Path:
    """The folder with the tokenizer that a checkpoint was trained with."""
    repository = tokenizer_repository(config_of(read_weights(checkpoint)))
    return fetcher.repository(repository, only=TOKENIZER_FILES, about=f"{repository}: {', '.join(TOKENIZER_FILES)}")


def convert(
    checkpoint: str | Path,
    folder: str | Path,
    *,
    tokenizer: str | Path,
    config: Config | None = None,
    answers: Sequence[str] | None = None,
) -> Config:
    """Write folder; its configuration is returned.

    tokenizer: a folder with vocab.json and merges.txt. config: where the weights do not tell, see recognition.py.
    answers: METER's answer vocabulary, in the order of its outputs. Raises ModelError for what does not fit.
    """
    weights = read_weights(checkpoint)
    config = config or config_of(weights)
    processor = build_processor(config, Path(tokenizer))
    if isinstance(config, FlorenceConfig):
        model: Any = filled(FlorenceModel(config), weights, UNICL)
    else:
        if answers is not None:
            config = _with_answers(config, answers)
        network = MeterForVisualReasoning if "nlvr2" in config.heads else MeterForMultipleTasks
        model = filled(network(config), weights, METER)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return config


def _with_answers(config: MeterConfig, answers: Sequence[str]) -> MeterConfig:
    if len(answers) != config.num_answers:
        raise ModelError(f"{len(answers)} answers were given, but the checkpoint has {config.num_answers} outputs")
    return MeterConfig(**{**config.to_dict(), "answers": list(answers)})


def build_processor(config: Config, tokenizer: Path) -> FlorenceProcessor:
    """Pixels and words as the released code prepares them."""
    if missing := [name for name in TOKENIZER_FILES if not (tokenizer / name).is_file()]:
        raise ModelError(
            f"{str(tokenizer)!r} lacks {' and '.join(missing)} of the tokenizer; "
            f"take them from https://huggingface.co/{tokenizer_repository(config)}"
        )
    if isinstance(config, FlorenceConfig):
        return _unicl_processor(config, tokenizer)
    return _meter_processor(config, tokenizer)


def _unicl_processor(config: FlorenceConfig, folder: Path) -> FlorenceProcessor:
    image, text = config.image_config, config.text_config
    assert isinstance(image, CoSwinConfig) and not isinstance(text, dict) and text is not None
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=text.max_position_embeddings)
    return FlorenceProcessor(FlorenceImageProcessor(size=image.image_size), tokenizer, mend_text=True)


def _meter_processor(config: MeterConfig, folder: Path) -> FlorenceProcessor:
    image: Any = config.image_config
    over_clip = not isinstance(image, CoSwinConfig)
    clip: dict[str, Any] = {"image_mean": CLIP_MEAN, "image_std": CLIP_STD, "scale_alpha": True} if over_clip else {}
    tokenizer = RobertaTokenizer.from_pretrained(folder, model_max_length=config.max_text_length)
    return FlorenceProcessor(FlorenceImageProcessor(size=image.image_size, enlarge=1.0, **clip), tokenizer)
