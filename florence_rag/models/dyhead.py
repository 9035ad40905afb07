"""Dynamic Head detection over CoSwin: a feature pyramid, blocks of three attentions, and an ATSS head.

Papers: Florence (arXiv 2111.11432, section 2.2, object-level adapter), Dynamic Head (arXiv 2106.08322), FPN (arXiv
1612.03144), ATSS (arXiv 1912.02424). Reference code: microsoft/DynamicHead for the blocks.
Differs: Florence's detector was never published; its head is the paper's, with the paper's published blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForObjectDetection, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from florence_rag.models.atss import Points, detection_loss
from florence_rag.models.boxes import suppress
from florence_rag.models.coswin import CoSwinConfig, CoSwinModel
from florence_rag.models.layers.dynamic import CoarseReading, DynamicBlock


class DyHeadConfig(PreTrainedConfig):
    """Configuration of the Dynamic Head. The defaults are the paper's (section 4.2).

    Args:
        channels: The channels of every level.
        num_blocks: The number of blocks.
        groups: The groups of each group normalization.
        coarse: How a block reads the coarser level, see `DynamicBlock`; "released" for weights of
            microsoft/DynamicHead.
    """

    model_type = "dyhead"

    channels: int = 256
    num_blocks: int = 6
    groups: int = 16
    coarse: CoarseReading = "resized"
    initializer_range: float = 0.02


class DyHeadDetectorConfig(PreTrainedConfig):
    """Configuration of the detector. The classes are transformers' `id2label`.

    Args:
        stages: The stages of the backbone that the pyramid uses.
        extra_levels: The number of further levels, each half as large as the one before.
        top_k: The candidates of each level for a box (ATSS).
        anchor_scale: The side of an anchor in strides (ATSS).
    """

    model_type = "dyhead-detector"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {"backbone_config": CoSwinConfig, "head_config": DyHeadConfig}

    backbone_config: CoSwinConfig | dict[str, Any] | None = None
    head_config: DyHeadConfig | dict[str, Any] | None = None
    stages: list[int] | tuple[int, ...] = (1, 2, 3)
    extra_levels: int = 2
    top_k: int = 9
    anchor_scale: float = 8.0
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        if not isinstance(self.backbone_config, CoSwinConfig):
            self.backbone_config = CoSwinConfig(**(self.backbone_config or {}))
        if not isinstance(self.head_config, DyHeadConfig):
            self.head_config = DyHeadConfig(**(self.head_config or {}))
        super().__post_init__(**kwargs)

    @property
    def strides(self) -> list[int]:
        """The pixels between neighboring points of each level."""
        last = max(self.stages)
        return [4 * 2**stage for stage in (*self.stages, *range(last + 1, last + 1 + self.extra_levels))]


class _DyHeadPreTrained(PreTrainedModel):
    """Initial weights of the head; those of the backbone are initialized as in CoSwin."""

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, DynamicBlock):
            # Taps start where an ordinary convolution has them, half weighted.
            for conv in (module.offset, module.scale):
                init.normal_(conv.weight, std=0.01)
                init.zeros_(conv.bias)  # type: ignore[arg-type]  # it has a bias


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
        """Transform a pyramid from fine to coarse, each level (B, C, H_i, W_i) half the one before, to equal shapes."""
        maps = list(levels)
        for block in self.blocks:
            maps = block(maps)
        return maps


class FeaturePyramid(nn.Module):
    """Maps of a backbone -> maps of one width; each adds the coarser one to itself (FPN, section 3)."""

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
    """loss (); logits (B, P, L) of classes; center_logits (B, P); boxes (B, P, 4) in fractions of the input image."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    center_logits: Tensor | None = None
    boxes: Tensor | None = None


class DyHeadForObjectDetection(_DyHeadPreTrained):
    """CoSwin, feature pyramid and Dynamic Head; predicts class, box and centerness of every point (ATSS)."""

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
            # Nearly everything is background, and the initial scores say so (focal loss, section 3.3).
            init.constant_(module.class_head.bias, -4.6)  # type: ignore[arg-type]  # it has a bias

    def forward(
        self, pixel_values: Tensor, labels: Sequence[dict[str, Tensor]] | None = None, **_: Any
    ) -> DetectorOutput:
        """Detect objects in normalized images (B, 3, H, W) at P points: all levels from fine to coarse, row by row.

        `labels`, which give the loss, are for each image "boxes" (N_i, 4), left, top, right, bottom in fractions of it,
        and "class_labels" (N_i,).
        """
        pyramid = self.backbone(pixel_values, output_hidden_states=True).hidden_states
        maps = [norm(pyramid[stage]) for norm, stage in zip(self.norms, self.config.stages, strict=True)]
        levels = self.dyhead(self.pyramid(maps))
        points = Points.of(levels, self.config.strides)
        scales = self.level_scales.repeat_interleave(torch.tensor(points.counts, device=pixel_values.device))
        # No image is wider than e^8 strides.
        reach = (_by_point(self.box_head, levels) * scales[:, None]).clamp(max=8.0)
        distances = reach.exp() * points.stride[:, None]
        logits, centers = _by_point(self.class_head, levels), _by_point(self.center_head, levels).squeeze(-1)
        size = points.xy.new_tensor([pixel_values.shape[-1], pixel_values.shape[-2]]).repeat(2)
        loss = None
        if labels is not None:
            targets = [(row["boxes"] * size, row["class_labels"]) for row in labels]
            settings = {"top_k": self.config.top_k, "anchor_scale": self.config.anchor_scale}
            loss = detection_loss(points, logits, distances, centers, targets, **settings)
        return DetectorOutput(loss, logits, centers, points.boxes(distances) / size)


def _by_point(head: nn.Module, levels: Sequence[Tensor]) -> Tensor:
    """(B, C, H_i, W_i) -> (B, P, outputs) float32: positions in pixels need more than half precision."""
    return torch.cat([head(level).flatten(2).transpose(1, 2) for level in levels], dim=1).float()


@torch.no_grad()
def detect_objects(
    output: DetectorOutput, *, threshold: float, overlap: float = 0.6, most: int = 100, candidates: int = 1000
) -> list[dict[str, Tensor]]:
    """Return for each image "scores" (N,), "labels" (N,) and "boxes" (N, 4), all in [0, 1], best first.

    A score is the geometric mean of class and centerness, as in ATSS, and at least `threshold`. Two objects of one
    class have at most the IoU `overlap`. At most `most` of the best `candidates` are returned.
    """
    assert output.logits is not None and output.center_logits is not None and output.boxes is not None
    scores = (output.logits.float().sigmoid() * output.center_logits.float().sigmoid()[..., None]).sqrt()
    detections = []
    for table, boxes in zip(scores, output.boxes.float().clamp(0, 1), strict=True):
        best = table.flatten().topk(min(candidates, table.numel()))
        kept = best.values >= threshold
        values, indices = best.values[kept], best.indices[kept]
        point, label = indices // table.shape[1], indices % table.shape[1]
        chosen = suppress(boxes[point], values, label, overlap)[:most]
        detections.append({"scores": values[chosen], "labels": label[chosen], "boxes": boxes[point][chosen]})
    return detections


AutoConfig.register(DyHeadConfig.model_type, DyHeadConfig)
AutoConfig.register(DyHeadDetectorConfig.model_type, DyHeadDetectorConfig)
AutoModel.register(DyHeadConfig, DyHeadModel)
AutoModelForObjectDetection.register(DyHeadDetectorConfig, DyHeadForObjectDetection)
