"""Configuration of METER: which text encoder, which image encoder, how they are fused, which heads sit on top."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, CLIPVisionConfig, PreTrainedConfig, RobertaConfig
from transformers.configuration_utils import SubConfigSpec

from florence_rag.errors import ModelError
from florence_rag.models.coswin import CoSwinConfig

Head = Literal["vqa", "itm", "mlm", "rank", "nlvr2", "snli"]
HEADS: tuple[Head, ...] = ("vqa", "itm", "mlm", "rank", "nlvr2", "snli")


@strict
class MeterConfig(PreTrainedConfig):
    """Defaults are those of the released CLIP ViT-B/16 + RoBERTa-base checkpoints.

    text_config, image_config: of the two encoders. hidden_size, num_layers, num_heads, intermediate_size: of the
    fusion layers.
    image_pooling: what stands for the picture: its "first" token (CLIP) or their "mean" (Swin, CoSwin).
    num_image_positions: how many learned positions are added to the projected image tokens; 0 for none. An image
    encoder that knows no absolute position needs them, or left and right look the same.
    num_token_types: 2, or 3 where two pictures are compared. heads: what the checkpoint can do, see meter_heads.py.
    answers: the answer vocabulary in the order of the outputs; None where it is unknown, then num_answers counts.
    """

    model_type = "meter"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "text_config": RobertaConfig,
        "image_config": SubConfigSpec(AutoConfig, model_type="clip_vision_model"),
    }

    text_config: RobertaConfig | dict[str, Any] | None = None
    image_config: CoSwinConfig | CLIPVisionConfig | dict[str, Any] | None = None
    hidden_size: int = 768
    num_layers: int = 6
    num_heads: int = 12
    intermediate_size: int = 3072
    dropout: float = 0.1
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    image_pooling: Literal["first", "mean"] = "first"
    num_image_positions: int = 0
    num_token_types: int = 2
    max_text_length: int = 50
    heads: list[str] | tuple[str, ...] = ("vqa",)
    num_answers: int = 3129
    answers: list[str] | tuple[str, ...] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.answers is not None:
            self.answers = list(self.answers)
            self.num_answers = len(self.answers)
            self.id2label = dict(enumerate(self.answers))
            self.label2id = {answer: i for i, answer in enumerate(self.answers)}
        self.heads = list(self.heads)
        super().__post_init__(**kwargs)
        self._check()

    def _check(self) -> None:
        if unknown := sorted(set(self.heads) - set(HEADS)):
            raise ModelError(f"unknown METER heads {unknown!r}; allowed: {', '.join(HEADS)}")
        if self.hidden_size % self.num_heads:
            raise ModelError(f"hidden_size {self.hidden_size} is no multiple of num_heads {self.num_heads}")
        text: Any = self.text_config
        longest = text.max_position_embeddings - text.pad_token_id - 1
        if self.max_text_length > longest:
            raise ModelError(f"max_text_length {self.max_text_length} exceeds the {longest} positions of text_config")


AutoConfig.register(MeterConfig.model_type, MeterConfig)
