"""Trains the dual encoder and METER of florence-tiny: python -m recipes.florence_tiny.train --help.

The script draws the scenes, trains the tokenizer and then both models with transformers' Trainer, and writes the files
that the package ships. An interrupted run resumes from its last checkpoint; a GPU is used if there is one.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase, RobertaConfig, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from florence_rag.finetuning.trainer import fast_attention
from florence_rag.models.coswin import CoSwinConfig
from florence_rag.models.florence import FlorenceConfig, FlorenceModel
from florence_rag.models.meter import MeterConfig
from florence_rag.models.meter_heads import MeterForMultipleTasks
from florence_rag.models.processing import FlorenceImageProcessor, FlorenceProcessor
from florence_rag.models.text_encoder import TextEncoderConfig
from recipes.florence_tiny.grounding import WordRegions
from recipes.florence_tiny.joint_model import JointModel
from recipes.florence_tiny.scene_dataset import SceneCollator, SceneDataset, scene_at, search_phrase
from recipes.florence_tiny.synthetic.captions import caption
from recipes.florence_tiny.synthetic.questions import questions
from recipes.florence_tiny.synthetic.vocabulary import ANSWERS
from recipes.florence_tiny.tokenizer import BOS, EOS, PAD, train_tokenizer


@dataclass(frozen=True)
class TinyShape:
    """Sizes of florence-tiny."""

    image_size: int = 112
    embed_dim: int = 48
    depths: tuple[int, ...] = (1, 1, 4)
    num_heads: tuple[int, ...] = (2, 4, 8)
    window_size: int = 7
    text_width: int = 128
    text_layers: int = 3
    fusion_width: int = 128
    fusion_layers: int = 3
    vocab_size: int = 1024
    max_tokens: int = 76
    projection_dim: int = 128


@dataclass(frozen=True)
class Stage:
    """One stage of the training.

    Attributes:
        name: Its name.
        steps: Optimizer steps.
        batch: Scenes per step and process.
        learning_rate: Peak learning rate.
        questions: Questions per scene.
        statements: Statements per scene.
        masked: Masked captions per scene.
        decay: Share of the steps in which the learning rate falls.
        trained: The trained part; the other weights are frozen.
    """

    name: str
    steps: int
    batch: int
    learning_rate: float
    questions: int
    statements: int
    masked: int
    decay: float
    trained: Literal["all", "dual encoder", "meter"] = "all"


STAGES = (
    # Both models over one image encoder learn objects, colors, and the shared space of captions and images.
    Stage("joint", 1200, 64, 1e-3, questions=3, statements=1, masked=0, decay=0.0),
    # The dual encoder alone, in larger batches, until the learning rate is zero.
    Stage("dual_encoder", 800, 128, 1e-3, questions=0, statements=0, masked=0, decay=0.8, trained="dual encoder"),
    # METER alone: it needs many more steps than the dual encoder, and supervised attention.
    Stage("meter", 8000, 16, 5e-4, questions=7, statements=2, masked=1, decay=0.5, trained="meter"),
)


def build_tokenizer(shape: TinyShape, *, scenes: int = 5000, seed: int = 0) -> PreTrainedTokenizerBase:
    """Train a tokenizer on captions, phrases and questions of the first scenes."""
    rng = random.Random(seed)
    texts: list[str] = []
    for index in range(scenes):
        scene = scene_at(index, seed)
        texts += [caption(scene, rng), search_phrase(scene, rng)[0], *(q.text for q in questions(scene, rng, 3))]
    return train_tokenizer(texts, vocab_size=shape.vocab_size, max_length=shape.max_tokens)


def build_model(shape: TinyShape, vocab_size: int) -> JointModel:
    """Build both models with random weights."""
    tokens: dict[str, Any] = {
        "vocab_size": vocab_size,
        "bos_token_id": BOS,
        "pad_token_id": PAD,
        "eos_token_id": EOS,
    }
    image = CoSwinConfig(
        image_size=shape.image_size,
        embed_dim=shape.embed_dim,
        depths=shape.depths,
        num_heads=shape.num_heads,
        window_size=shape.window_size,
    )
    text = TextEncoderConfig(
        hidden_size=shape.text_width,
        num_hidden_layers=shape.text_layers,
        num_attention_heads=4,
        max_position_embeddings=shape.max_tokens,
        layer_norm_eps=1e-5,
        **tokens,
    )
    # The usual 0.02 suits widths of 768 and more: here attention would stay uniform for thousands of steps.
    narrow = shape.fusion_width**-0.5
    roberta = RobertaConfig(
        hidden_size=shape.text_width,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=4 * shape.text_width,
        max_position_embeddings=shape.max_tokens + PAD + 1,
        type_vocab_size=1,
        initializer_range=narrow,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **tokens,
    )
    meter = MeterConfig(
        text_config=roberta,
        image_config=image,
        hidden_size=shape.fusion_width,
        num_layers=shape.fusion_layers,
        num_heads=4,
        intermediate_size=4 * shape.fusion_width,
        dropout=0.0,
        layer_norm_eps=1e-5,
        initializer_range=narrow,
        image_pooling="mean",
        num_image_positions=image.token_grid**2,
        max_text_length=shape.max_tokens,
        heads=("vqa", "itm", "mlm"),
        answers=ANSWERS,
    )
    florence = FlorenceConfig(image_config=image, text_config=text, projection_dim=shape.projection_dim)
    model = JointModel(FlorenceModel(florence), MeterForMultipleTasks(meter))
    # METER learns left and right only if positions are as large as the tokens that they are added to.
    positions: Any = model.meter.meter.image_positions
    torch.nn.init.normal_(positions.weight, std=0.5)
    return model


class JointTrainer(Trainer):
    """A Trainer that also logs the parts of the loss."""

    _parts: dict[str, list[float]]

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the sum of the losses, and store its parts for the next log line."""
        with fast_attention(self.args.use_cpu):
            outputs = model(**inputs)
        if not hasattr(self, "_parts"):
            self._parts = {}
        loss: torch.Tensor = outputs.pop("loss")
        for name, part in outputs.items():
            self._parts.setdefault(name, []).append(part.item())
        return loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the mean of each part since the last line."""
        parts = {name: round(sum(values) / len(values), 4) for name, values in getattr(self, "_parts", {}).items()}
        self._parts = {}
        super().log({**logs, **parts}, *args, **kwargs)


def save(model: JointModel, processor: FlorenceProcessor, folder: Path) -> None:
    """Write florence/ and meter/, each with half-precision weights, configuration and processor."""
    florence, meter = model.models()
    for name, network in (("florence", florence), ("meter", meter)):
        network.half().save_pretrained(folder / name)
        processor.save_pretrained(folder / name)


def train_stage(
    stage: Stage, model: JointModel, data: Callable[[], SceneDataset], collator: SceneCollator, folder: Path, seed: int
) -> None:
    """Train one stage from its last checkpoint on; a finished stage is only loaded."""
    if stage.trained == "meter":
        model.split()
    model.florence.requires_grad_(stage.trained != "meter")
    model.meter.requires_grad_(stage.trained != "dual encoder")
    finished = folder / f"{stage.name}.safetensors"
    if finished.exists():
        model.load_state_dict(load_file(finished))
        return
    checkpoints = folder / stage.name
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=stage.steps,
        per_device_train_batch_size=stage.batch,
        learning_rate=stage.learning_rate,
        weight_decay=0.05,
        adam_beta2=0.98,
        warmup_steps=100,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": int(stage.decay * stage.steps)},
        max_grad_norm=1.0,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        # With a single process, a named backend would wait for a process group.
        ddp_backend="gloo" if "WORLD_SIZE" in os.environ and not torch.cuda.is_available() else None,
        logging_steps=25,
        save_steps=100,
        save_total_limit=2,
        dataloader_num_workers=1,
        dataloader_persistent_workers=True,
        remove_unused_columns=False,
        label_names=[],
        report_to=[],
        seed=seed,
    )
    with arguments.main_process_first(desc="drawing the scenes"):
        dataset = data()
    collator = replace(
        collator,
        questions_per_scene=stage.questions,
        statements_per_scene=stage.statements,
        masked_per_scene=stage.masked,
        word_regions=WordRegions(collator.tokenizer, model.florence.config.image_config.token_grid)
        if stage.trained == "meter"
        else None,
    )
    trainer = JointTrainer(model=model, args=arguments, train_dataset=dataset, data_collator=collator)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(checkpoints)) if checkpoints.exists() else None)
    if trainer.is_world_process_zero():
        save_file(model.state_dict(), finished)


def main(
    output: Annotated[Path, typer.Option(help="Folder for the checkpoints and the finished models.")] = Path(
        "runs/tiny"
    ),
    cache: Annotated[Path, typer.Option(help="Folder for the drawn scenes.")] = Path("runs/scenes"),
    scenes: Annotated[int, typer.Option(help="The number of scenes.")] = 50_000,
    seed: Annotated[int, typer.Option(help="Seed of the scenes, texts and weights.")] = 0,
) -> None:
    """Train florence-tiny; run it again to resume an interrupted run."""
    torch.manual_seed(seed)
    shape = TinyShape()
    processor = FlorenceImageProcessor(size=shape.image_size, fit="squash", enlarge=1.0, region_view="masked")
    tokenizer = build_tokenizer(shape, seed=seed)
    model = build_model(shape, len(tokenizer))
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters, {len(tokenizer)} tokens", flush=True)
    collator = SceneCollator(tokenizer, processor)
    for stage in STAGES:
        train_stage(stage, model, partial(SceneDataset, cache, scenes, processor, seed=seed), collator, output, seed)
    if int(os.environ.get("RANK", "0")) == 0:
        save(model, FlorenceProcessor(processor, tokenizer), output / "florence_tiny")


if __name__ == "__main__":
    typer.run(main)
