"""Names and shapes of the weights of the released checkpoints, for any size."""

from collections.abc import Iterable, Sequence

Layout = dict[str, tuple[int, ...]]


def prefixed(prefix: str, layout: Layout) -> Layout:
    return {prefix + key: shape for key, shape in layout.items()}


def merged(layouts: Iterable[Layout]) -> Layout:
    return {key: shape for layout in layouts for key, shape in layout.items()}


def linear(name: str, inputs: int, outputs: int) -> Layout:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> Layout:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def swin_block(width: int, heads: int, window: int) -> Layout:
    return {
        **norm("norm1", width),
        "attn.relative_position_bias_table": ((2 * window - 1) ** 2, heads),
        "attn.relative_position_index": (window**2, window**2),
        **linear("attn.qkv", width, 3 * width),
        **linear("attn.proj", width, width),
        **norm("norm2", width),
        **linear("mlp.fc1", width, 4 * width),
        **linear("mlp.fc2", 4 * width, width),
    }


def swin(image_size: int, embed_dim: int, depths: Sequence[int], num_heads: Sequence[int], window_size: int) -> Layout:
    layout = {"patch_embed.proj.weight": (embed_dim, 3, 4, 4), "patch_embed.proj.bias": (embed_dim,)}
    layout |= norm("patch_embed.norm", embed_dim)
    for stage, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
        width, side = embed_dim * 2**stage, image_size // (4 * 2**stage)
        window = min(window_size, side)
        for block in range(depth):
            layout |= prefixed(f"layers.{stage}.blocks.{block}.", swin_block(width, heads, window))
            if block % 2 and side > window:
                layout[f"layers.{stage}.blocks.{block}.attn_mask"] = ((side // window) ** 2, window**2, window**2)
        if stage < len(depths) - 1:
            layout[f"layers.{stage}.downsample.reduction.weight"] = (2 * width, 4 * width)
            layout |= norm(f"layers.{stage}.downsample.norm", 4 * width)
    return layout | norm("norm", embed_dim * 2 ** (len(depths) - 1))


def clip_block(width: int) -> Layout:
    return {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        **linear("attn.out_proj", width, width),
        **norm("ln_1", width),
        **linear("mlp.c_fc", width, 4 * width),
        **linear("mlp.c_proj", 4 * width, width),
        **norm("ln_2", width),
    }


def clip_text(vocab_size: int, length: int, width: int, layers: int) -> Layout:
    return {
        "positional_embedding": (length, width),
        "token_embedding.weight": (vocab_size, width),
        **merged(prefixed(f"resblocks.{i}.", clip_block(width)) for i in range(layers)),
        **norm("ln_final", width),
    }


def clip_vision(image_size: int, patch: int, width: int, layers: int) -> Layout:
    return {
        "class_embedding": (width,),
        "positional_embedding": ((image_size // patch) ** 2 + 1, width),
        "conv1.weight": (width, 3, patch, patch),
        **norm("ln_pre", width),
        **merged(prefixed(f"transformer.resblocks.{i}.", clip_block(width)) for i in range(layers)),
        **norm("ln_post", width),
    }


def unicl(image: Layout, text: Layout, image_width: int, text_width: int, projection: int) -> Layout:
    return {
        "text_projection": (text_width, projection),
        "image_projection": (image_width, projection),
        "logit_scale": (),
        **prefixed("text_encoder.", text),
        **prefixed("image_encoder.", image),
    }


def bert_attention(name: str, width: int) -> Layout:
    return {
        **merged(linear(f"{name}.self.{part}", width, width) for part in ("query", "key", "value")),
        **linear(f"{name}.output.dense", width, width),
        **norm(f"{name}.output.LayerNorm", width),
    }


def bert_layer(width: int, hidden: int, *attentions: str) -> Layout:
    return {
        **merged(bert_attention(name, width) for name in attentions),
        **linear("intermediate.dense", width, hidden),
        **linear("output.dense", hidden, width),
        **norm("output.LayerNorm", width),
    }


def roberta(vocab_size: int, positions: int, width: int, layers: int, hidden: int) -> Layout:
    return {
        "embeddings.position_ids": (1, positions),
        "embeddings.word_embeddings.weight": (vocab_size, width),
        "embeddings.position_embeddings.weight": (positions, width),
        "embeddings.token_type_embeddings.weight": (1, width),
        **norm("embeddings.LayerNorm", width),
        **merged(prefixed(f"encoder.layer.{i}.", bert_layer(width, hidden, "attention")) for i in range(layers)),
        **linear("pooler.dense", width, width),
    }


def fusion(text_width: int, image_width: int, width: int, hidden: int, layers: int, token_types: int = 2) -> Layout:
    layer = bert_layer(width, hidden, "attention", "crossattention")
    return {
        **linear("cross_modal_text_transform", text_width, width),
        **linear("cross_modal_image_transform", image_width, width),
        "token_type_embeddings.weight": (token_types, width),
        **merged(
            prefixed(f"cross_modal_{side}_layers.{i}.", layer) for side in ("image", "text") for i in range(layers)
        ),
        **linear("cross_modal_image_pooler.dense", width, width),
        **linear("cross_modal_text_pooler.dense", width, width),
    }


def heads(names: Iterable[str], width: int, answers: int, vocab_size: int) -> Layout:
    known = {
        "vqa": classifier("vqa_classifier", 2 * width, 2 * width, answers),
        "nlvr2": classifier("nlvr2_classifier", 4 * width, 2 * width, 2),
        "snli": classifier("snli_classifier", 2 * width, 2 * width, 3),
        "itm": linear("itm_score.fc", 2 * width, 2),
        "rank": linear("rank_output", 2 * width, 1),
        "mlm": {
            "mlm_score.bias": (vocab_size,),
            **linear("mlm_score.transform.dense", width, width),
            **norm("mlm_score.transform.LayerNorm", width),
            "mlm_score.decoder.weight": (vocab_size, width),
        },
    }
    return merged(known[name] for name in names)


def classifier(name: str, inputs: int, hidden: int, outputs: int) -> Layout:
    return {**linear(f"{name}.0", inputs, hidden), **norm(f"{name}.1", hidden), **linear(f"{name}.3", hidden, outputs)}


def clip_leftovers(length: int, width: int) -> Layout:
    """The weights of CLIP's text encoder that are left in METER's files."""
    return {"positional_embedding": (length, width), **norm("ln_final", width)}


def dyhead(channels: int, blocks: int) -> Layout:
    """The blocks of a Dynamic Head detector."""
    block = {
        **merged(
            {
                f"DyConv.{i}.conv.weight": (channels, channels, 3, 3),
                f"DyConv.{i}.conv.bias": (channels,),
                **norm(f"DyConv.{i}.bn", channels),
            }
            for i in range(3)
        ),
        "AttnConv.1.weight": (1, channels, 1, 1),
        "AttnConv.1.bias": (1,),
        **linear("relu.fc.0", channels, channels // 4),
        **linear("relu.fc.2", channels // 4, 4 * channels),
        "offset.weight": (27, channels, 3, 3),
        "offset.bias": (27,),
    }
    return merged(prefixed(f"backbone.dyhead_tower.{i}.", block) for i in range(blocks))


def video_swin(
    embed_dim: int, depths: Sequence[int], num_heads: Sequence[int], window: tuple[int, int], classes: int
) -> Layout:
    """Video Swin with its classifier. window: frames and side, in tokens."""
    frames, side = window
    tokens = frames * side**2
    images = swin(1024, embed_dim, depths, num_heads, side)  # so large that no window is clamped
    layout = {}
    for key, shape in images.items():
        if key.endswith("attn_mask"):
            continue
        if key.endswith("relative_position_index"):
            shape = (tokens, tokens)
        elif key.endswith("relative_position_bias_table"):
            shape = ((2 * frames - 1) * shape[0], shape[1])
        elif key == "patch_embed.proj.weight":
            shape = (*shape[:2], 2, *shape[2:])
        layout[key] = shape
    return prefixed("backbone.", layout) | linear("cls_head.fc_cls", embed_dim * 2 ** (len(depths) - 1), classes)
