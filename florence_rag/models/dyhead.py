"""Dynamic Head detection over CoSwin: a feature pyramid, blocks of three attentions, and an ATSS head.

Papers: Florence (arXiv 2111.11432, section 2.2, object-level adapter), Dynamic Head (arXiv 2106.08322), FPN (arXiv
1612.03144), ATSS (arXiv 1912.02424). Reference code: microsoft/DynamicHead for the blocks.
Differs: Florence's detector was never published; its head is the paper's, with the paper's published blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForObjectDetection, PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from florence_rag.models.atss import Points, detection_loss
from florence_rag.models.boxes import suppress
from florence_rag.models.configuration_dyhead import DyHeadConfig, DyHeadDetectorConfig
from florence_rag.models.coswin import CoSwinModel
from florence_rag.models.layers.dynamic import DynamicBlock


class _DyHeadPreTrained(PreTrainedModel):
    """How all weights of the head start; those of the backbone start as in CoSwin."""

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, DynamicBlock):
            # Taps start where an ordinary convolution has them, half weighted.
            for conv in (module.offset, module.scale):
                init.normal_(conv.weight, std=0.01)
                _fill_bias(conv, 0.0)


class DyHeadModel(_DyHeadPreTrained):
    """The stack of Dynamic Head blocks alone."""

    config_class = DyHeadConfig
    base_model_prefix = "dyhead"
    main_input_name = "levels"

    def __init__(self, config: DyHeadConfig) -> None:
        super().__init__(config)
        self.blocks = nn.ModuleList(
            DynamicBlock(config.channels, groups=config.groups, coarse=config.coarse) for _ in range(config.num_blocks)
        )
        self.post_init()

    def forward(self, levels: Sequence[Tensor], **_: Any) -> list[Tensor]:
        """A pyramid from fine to coarse, each (B, C, H_i, W_i), each side half the one before, rounded up or down.

        Returns maps of the same shapes.
        """
        maps = list(levels)
        for block in self.blocks:
            maps = block(maps)
        return maps


class FeaturePyramid(nn.Module):
    """Maps of a backbone -> maps of one width, each told what the coarser ones saw (FPN, section 3)."""

    def __init__(self, widths: Sequence[int], channels: int, extra: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in widths)
        self.coarser = nn.ModuleList(nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(extra))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, C_i, H_i, W_i) from fine to coarse -> (B, C, H_i, W_i), and further levels of half the size."""
        levels = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for index in range(len(levels) - 1, 0, -1):
            levels[index - 1] = levels[index - 1] + F.interpolate(levels[index], size=levels[index - 1].shape[-2:])
        levels = [smooth(x) for smooth, x in zip(self.smooth, levels, strict=True)]
        for conv in self.coarser:
            levels.append(conv(levels[-1].relu()))
        return levels


@dataclass
class DetectorOutput(ModelOutput):
    """loss (); logits (B, P, L) of classes and center_logits (B, P); boxes (B, P, 4) in shares of the input picture."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    center_logits: Tensor | None = None
    boxes: Tensor | None = None


class DyHeadForObjectDetection(_DyHeadPreTrained):
    """CoSwin, feature pyramid, Dynamic Head, and for every point a class, a box and how central it is (ATSS)."""

    config_class = DyHeadDetectorConfig
    base_model_prefix = "detector"
    main_input_name = "pixel_values"
    _no_split_modules = ["SwinBlock"]

    def __init__(self, config: DyHeadDetectorConfig) -> None:
        super().__init__(config)
        backbone: Any = config.backbone_config
        head: Any = config.head_config
        self.backbone = CoSwinModel(backbone)
        # The mean of the image is not needed.
        self.backbone.norm = nn.Identity()  # type: ignore[assignment]
        widths = [backbone.embed_dim * 2**stage for stage in config.stages]
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for width in widths)
        self.pyramid = FeaturePyramid(widths, head.channels, config.extra_levels)
        self.dyhead = DyHeadModel(head)
        self.class_head = nn.Conv2d(head.channels, len(config.id2label or ()), 3, padding=1)
        self.box_head = nn.Conv2d(head.channels, 4, 3, padding=1)
        self.center_head = nn.Conv2d(head.channels, 1, 3, padding=1)
        self.level_scales = nn.Parameter(torch.ones(len(config.strides)))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, DyHeadForObjectDetection):
            init.ones_(module.level_scales)
            for head in (module.class_head, module.box_head, module.center_head):
                init.normal_(head.weight, std=0.01)
            # Nearly everything is background: it says so from the start (focal loss, section 3.3).
            _fill_bias(module.class_head, -4.6)

    def forward(
        self, pixel_values: Tensor, labels: Sequence[dict[str, Tensor]] | None = None, **_: Any
    ) -> DetectorOutput:
        """Detect objects in normalized images.

        pixel_values: (B, 3, H, W). labels: for each image "boxes" (N_i, 4) in shares of it, left, top, right, bottom,
        and "class_labels" (N_i,); they give the loss. The P points are those of all levels, fine to coarse, row by row.
        """
        levels = self.dyhead(self.pyramid(self._maps(pixel_values)))
        points = Points.of(levels, self.config.strides)
        scales = self.level_scales.repeat_interleave(torch.tensor(points.counts, device=pixel_values.device))
        # e^8 strides are more than any image is wide.
        reach = (_by_point(self.box_head, levels) * scales[:, None]).clamp(max=8.0)
        distances = reach.exp() * points.stride[:, None]
        logits, centers = _by_point(self.class_head, levels), _by_point(self.center_head, levels).squeeze(-1)
        size = points.xy.new_tensor([pixel_values.shape[-1], pixel_values.shape[-2]]).repeat(2)
        loss = None
        if labels is not None:
            goals = [(row["boxes"] * size, row["class_labels"]) for row in labels]
            settings = {"top_k": self.config.top_k, "anchor_scale": self.config.anchor_scale}
            loss = detection_loss(points, logits, distances, centers, goals, **settings)
        return DetectorOutput(loss, logits, centers, points.boxes(distances) / size)

    def _maps(self, pixel_values: Tensor) -> list[Tensor]:
        pyramid = self.backbone(pixel_values, output_hidden_states=True).hidden_states
        return [norm(pyramid[stage]) for norm, stage in zip(self.norms, self.config.stages, strict=True)]


def _fill_bias(conv: nn.Conv2d, value: float) -> None:
    assert conv.bias is not None
    init.constant_(conv.bias, value)


def _by_point(head: nn.Module, levels: Sequence[Tensor]) -> Tensor:
    """(B, C, H_i, W_i) -> (B, P, outputs) float32: places in pixels need more than half precision."""
    return torch.cat([head(level).flatten(2).transpose(1, 2) for level in levels], dim=1).float()


@torch.no_grad()
def found_objects(
    output: DetectorOutput, *, threshold: float, overlap: float = 0.6, most: int = 100, candidates: int = 1000
) -> list[dict[str, Tensor]]:
    """Return for each image "scores" (N,) in [0, 1], "labels" (N,) and "boxes" (N, 4) in [0, 1] of it, best first.

    A score is the geometric mean of class and centerness, as in ATSS. threshold: the least score. overlap: the largest
    IoU of two things of one class.
    """
    assert output.logits is not None and output.center_logits is not None and output.boxes is not None
    scores = (output.logits.float().sigmoid() * output.center_logits.float().sigmoid()[..., None]).sqrt()
    found = []
    for table, places in zip(scores, output.boxes.float().clamp(0, 1), strict=True):
        best = table.flatten().topk(min(candidates, table.numel()))
        kept = best.values >= threshold
        values, point = best.values[kept], best.indices[kept] // table.shape[1]
        label = best.indices[kept] % table.shape[1]
        chosen = suppress(places[point], values, label, overlap)[:most]
        found.append({"scores": values[chosen], "labels": label[chosen], "boxes": places[point][chosen]})
    return found


AutoConfig.register(DyHeadConfig.model_type, DyHeadConfig)
AutoConfig.register(DyHeadDetectorConfig.model_type, DyHeadDetectorConfig)
AutoModel.register(DyHeadConfig, DyHeadModel)
AutoModelForObjectDetection.register(DyHeadDetectorConfig, DyHeadForObjectDetection)
