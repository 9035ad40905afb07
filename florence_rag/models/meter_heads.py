"""The heads of METER: answers (VQA), image-text matching and ranking, masked words, reasoning over two images.

Dou et al., arXiv 2111.02387, section 3.3; reference code: zdou0830/METER. One checkpoint carries the heads named in
MeterConfig.heads over one backbone; every class below reads every such checkpoint and uses its own head.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM, AutoModelForVisualQuestionAnswering
from transformers.utils.generic import ModelOutput

from florence_rag.errors import ModelError
from florence_rag.models.meter import Head, MeterConfig, MeterModel, MeterOutput, MeterPreTrainedModel

IGNORE = -100
"""The label of rows without a label."""


class Classifier(nn.Sequential):
    """Linear, LayerNorm, GELU, linear: pooled features (B, in_size) -> logits (B, num_labels)."""

    def __init__(self, in_size: int, hidden_size: int, num_labels: int) -> None:
        super().__init__(
            nn.Linear(in_size, hidden_size), nn.LayerNorm(hidden_size), nn.GELU(), nn.Linear(hidden_size, num_labels)
        )


class MaskedLMHead(nn.Module):
    """Predicts masked words; it is not tied to the word embeddings, whose width differs."""

    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        text_config: Any = config.text_config
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, text_config.vocab_size)

    def forward(self, text_states: Tensor) -> Tensor:
        """Word states (B, T, C) -> logits over the vocabulary (B, T, V)."""
        return self.decoder(self.norm(F.gelu(self.dense(text_states))))


def build_head(head: str, config: MeterConfig) -> nn.Module:
    """Build the network of one head over the fused features, whose width is twice the hidden size."""
    width = 2 * config.hidden_size
    builders: dict[str, Callable[[], nn.Module]] = {
        "vqa": lambda: Classifier(width, width, config.num_answers),
        "snli": lambda: Classifier(width, width, 3),
        "nlvr2": lambda: Classifier(2 * width, width, 2),
        "itm": lambda: nn.Linear(width, 2),
        "rank": lambda: nn.Linear(width, 1),
        "mlm": lambda: MaskedLMHead(config),
    }
    return builders[head]()


def soft_answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy, summed over the A answers and averaged over the labeled rows.

    logits (B, A); labels (B, A): the score of each answer in [0, 1]; a row of -100 has no label.
    """
    labeled = labels[:, 0] != IGNORE
    loss = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).to(logits.dtype), reduction="none").sum(1)
    return (loss * labeled).sum() / labeled.sum().clamp(min=1)


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy over the last axis, averaged over the labels that are not -100; 0 if all are."""
    total = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORE, reduction="sum")
    return total / (labels != IGNORE).sum().clamp(min=1)


def rank_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy over groups of pairs, of which one matches.

    logits (B,): B / G consecutive pairs form a group; labels (G,): the index of the matching pair in each group.
    """
    return class_loss(logits.view(len(labels), -1), labels)


def head_loss(head: str, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of one head: that of soft answers for VQA, of groups for ranking, of classes for the others."""
    return {"vqa": soft_answer_loss, "rank": rank_loss}.get(head, class_loss)(logits, labels)


@dataclass
class MeterHeadOutput(ModelOutput):
    """loss () if there are labels; logits: those of the head, or of each head by name; fusion: the fused states."""

    loss: Tensor | None = None
    logits: Any = None
    fusion: MeterOutput | None = None


class MeterWithHeads(MeterPreTrainedModel):
    """The backbone and all heads of config.heads."""

    head: ClassVar[Head | None] = None

    def __init__(self, config: MeterConfig) -> None:
        super().__init__(config)
        if self.head is not None and self.head not in config.heads:
            raise ModelError(f"{type(self).__name__} needs the head {self.head!r}; this model has {config.heads!r}")
        self.meter = MeterModel(config)
        self.heads = nn.ModuleDict({name: build_head(name, config) for name in config.heads})
        self.post_init()

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """See MeterModel.encode_images."""
        return self.meter.encode_images(pixel_values)

    def logits_of(self, head: str, fusion: MeterOutput) -> Tensor:
        """Return the logits of a head: (B, T, V) for "mlm", (B,) for "rank", (B, labels) for the others."""
        logits: Tensor = self.heads[head](fusion.text_states if head == "mlm" else fusion.pooler_output)
        return logits.squeeze(-1) if head == "rank" else logits


class MeterForMultipleTasks(MeterWithHeads):
    """All heads in one pass: several tasks are trained together, and each row is labeled for some of them."""

    def forward(self, input_ids: Tensor, labels: Mapping[str, Tensor] | None = None, **inputs: Any) -> MeterHeadOutput:
        """Compute the logits of all heads but "nlvr2" for token ids (B, T) and `inputs` of `MeterModel.forward`.

        `labels` are those of each head by name, -100 in rows without one; the loss is the sum over the heads.
        """
        fusion = self.meter(input_ids, **inputs)
        logits = {head: self.logits_of(head, fusion) for head in self.config.heads if head != "nlvr2"}
        loss = None
        if labels:
            loss = torch.stack([head_loss(head, logits[head], target) for head, target in labels.items()]).sum()
        return MeterHeadOutput(loss, logits, fusion)


class _MeterForOneTask(MeterWithHeads):
    head: ClassVar[Head]

    def forward(self, input_ids: Tensor, labels: Tensor | None = None, **inputs: Any) -> MeterHeadOutput:
        """Compute the logits of the head; `inputs` are the other arguments of `MeterModel.forward`."""
        fusion = self.meter(input_ids, **inputs)
        logits = self.logits_of(self.head, fusion)
        return MeterHeadOutput(None if labels is None else head_loss(self.head, logits, labels), logits, fusion)


class MeterForQuestionAnswering(_MeterForOneTask):
    """logits (B, A): one per answer of config.answers, independent (sigmoid). labels (B, A): soft scores."""

    head = "vqa"


class MeterForImageTextMatching(_MeterForOneTask):
    """logits (B, 2): class 1 means that text and image match. labels (B,)."""

    head = "itm"


class MeterForImageTextRetrieval(_MeterForOneTask):
    """logits (B,): larger for better matches. labels (G,): see rank_loss."""

    head = "rank"


class MeterForMaskedLM(_MeterForOneTask):
    """logits (B, T, V). labels (B, T): the word under each mask, -100 elsewhere."""

    head = "mlm"


class MeterForVisualEntailment(_MeterForOneTask):
    """logits (B, 3): whether the image contradicts, leaves open or entails the text (SNLI-VE). labels (B,)."""

    head = "snli"


class MeterForVisualReasoning(MeterWithHeads):
    """logits (B, 2): class 1 means that the text is true of a pair of images (NLVR2). labels (B,)."""

    head = "nlvr2"

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> MeterHeadOutput:
        """input_ids, attention_mask (B, T); pixel_values (B, 2, 3, H, W): first and second image."""
        if pixel_values is None:
            raise ModelError("visual reasoning needs pixel_values (B, 2, 3, H, W)")
        pooled = [
            self.meter(input_ids, attention_mask, pixel_values[:, i], image_token_type=i + 1).pooler_output
            for i in range(2)
        ]
        logits = self.heads["nlvr2"](torch.cat(pooled, dim=-1))
        return MeterHeadOutput(None if labels is None else class_loss(logits, labels), logits)


AutoModelForVisualQuestionAnswering.register(MeterConfig, MeterForQuestionAnswering)
AutoModelForMaskedLM.register(MeterConfig, MeterForMaskedLM)
