"""Settings of the Dynamic Head tower and of the detector around it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from transformers import PreTrainedConfig

from florence_rag.models.coswin import CoSwinConfig


class DyHeadConfig(PreTrainedConfig):
    """Configuration of the Dynamic Head tower. The defaults are the paper's (section 4.2).

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
    coarse: Literal["resized", "released"] = "resized"
    initializer_range: float = 0.02


class DyHeadDetectorConfig(PreTrainedConfig):
    """Configuration of the detector: backbone, feature pyramid, Dynamic Head tower and ATSS head.

    `stages` are those of the backbone that the pyramid uses, and `extra_levels` are further levels, each half as large.
    `top_k` and `anchor_scale` belong to ATSS: the candidates of each level, and the side of an anchor in strides. The
    names of the classes are transformers' `id2label`.
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
        """Pixels between neighboring points, for each level."""
        last = max(self.stages)
        return [4 * 2**stage for stage in self.stages] + [4 * 2 ** (last + i + 1) for i in range(self.extra_levels)]
