"""Small models of perception with random weights, which functions save to a folder as their authors do."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BartConfig,
    BertTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    BlipImageProcessorPil,
    BlipProcessor,
    BlipTextConfig,
    BlipVisionConfig,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    Florence2VisionConfig,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    OPTConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ViltConfig,
    ViltForQuestionAnswering,
    ViltImageProcessorPil,
    ViltProcessor,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessorPil,
)

BOS, PAD, EOS, UNK, IMAGE = range(5)
SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}

CHAT = (
    "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}; {% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)

# As in the published processor_config.json, with fewer words that name no object.
READING = {
    "pure_text": {},
    "ocr": {"pattern": "(.+?)" + r"<loc_(\d+)>" * 8, "area_threshold": 0.0},
    "phrase_grounding": {"banned_grounding_tokens": ["it"]},
    "description_with_bboxes": {},
    "polygons": {},
    "bboxes": {},
    "description_with_bboxes_or_polygons": {},
}


def byte_tokenizer(*, pads: bool = True, **own: Any) -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes with Florence-2's own tokens for the image, locations and outlines."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<image>"]
    words = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        pad_token="<pad>" if pads else None,
        eos_token="</s>",
        unk_token="<unk>",
        **own,
    )
    tokenizer.add_tokens([f"<loc_{i}>" for i in range(1000)] + ["<sep>", "<poly>", "</poly>"], special_tokens=True)
    return tokenizer


def all_but_letters() -> list[int]:
    """Return all tokens that are neither letters nor spaces."""
    tokenizer = byte_tokenizer()
    letters = set(tokenizer.convert_tokens_to_ids([*"abcdefgh", "Ġ"])) | {BOS, EOS}
    return sorted(set(range(len(tokenizer))) - letters)


def processor() -> Florence2Processor:
    """Return a processor for images of 32 px, which become 2 x 2 tokens and their mean."""
    pixels = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False, image_seq_length=5)
    tokenizer = byte_tokenizer(extra_special_tokens={"image_token": "<image>"})
    return Florence2Processor(pixels, tokenizer, post_processor_config=READING)


def save_florence2(folder: Path, *, writes: str = "anything") -> Path:
    """Save a Florence-2 with 400 positions, as a prompt has one token per byte; if it writes "words", no locations."""
    processor().save_pretrained(folder)
    tokenizer = byte_tokenizer()
    vision = Florence2VisionConfig(
        depths=(1, 1, 1, 1),
        patch_stride=(4, 2, 2, 1),
        embed_dim=(8, 8, 8, 8),
        num_heads=(1, 1, 1, 1),
        num_groups=(1, 1, 1, 1),
        window_size=4,
        projection_dim=16,
        max_position_embeddings=4,
    )
    language = BartConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=400,
        bos_token_id=BOS,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=EOS,
        forced_eos_token_id=EOS,
        init_std=0.5,
    )
    torch.manual_seed(0)
    model = Florence2ForConditionalGeneration(
        Florence2Config(vision_config=vision, text_config=language, image_token_id=IMAGE)
    )
    model.generation_config = GenerationConfig(
        bos_token_id=BOS,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=EOS,
        forced_bos_token_id=BOS,
        no_repeat_ngram_size=3,
        num_beams=3,
        early_stopping=True,
        suppress_tokens=all_but_letters() if writes == "words" else None,
    )
    model.save_pretrained(folder)
    return folder


def noise(seed: int, *size: int) -> np.ndarray:
    """Return an image of (height, width) that no other seed gives."""
    return np.random.default_rng(seed).integers(0, 256, (*(size or (40, 60)), 3), dtype=np.uint8)


def word_tokenizer() -> BertTokenizer:
    """Return a tokenizer of letters and a few words, of the kind that ViLT and BLIP use."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "color", "is", "it", "red", "blue", "?"]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    return BertTokenizer(vocab={word: i for i, word in enumerate([*words, *letters, *(f"##{c}" for c in letters)])})


def save_vilt(folder: Path, *, answers: dict[int, str] | None = None) -> Path:
    """Save a ViLT that chooses among three answers, with 12 positions for text."""
    pixels = ViltImageProcessorPil(size={"shortest_edge": 32}, size_divisor=16)
    tokenizer = word_tokenizer()
    ViltProcessor(pixels, tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    config = ViltConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
        image_size=32,
        patch_size=16,
        initializer_range=0.3,
        num_labels=3,
        **({"id2label": answers} if answers else {}),
    )
    ViltForQuestionAnswering(config).save_pretrained(folder)
    return folder


def save_blip(folder: Path) -> Path:
    """Save a BLIP that generates answers."""
    return save_blip_as(BlipForQuestionAnswering, folder)


def save_blip_captioner(folder: Path) -> Path:
    """Save a BLIP that generates captions."""
    return save_blip_as(BlipForConditionalGeneration, folder, positions=80)


def save_blip_as(kind: type[PreTrainedModel], folder: Path, positions: int = 40) -> Path:
    tokenizer = word_tokenizer()
    BlipProcessor(BlipImageProcessorPil(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    text = blip_text(len(tokenizer), positions)
    kind(BlipConfig(text_config=text, vision_config=blip_vision())).save_pretrained(folder)
    return folder


def blip_text(vocabulary: int, positions: int = 40) -> BlipTextConfig:
    return BlipTextConfig(
        **SHAPE,
        vocab_size=vocabulary,
        encoder_hidden_size=16,
        max_position_embeddings=positions,
        bos_token_id=2,
        eos_token_id=3,
        sep_token_id=3,
        pad_token_id=0,
        initializer_range=0.5,
    )


def blip_vision() -> BlipVisionConfig:
    return BlipVisionConfig(**SHAPE, image_size=32, patch_size=16, initializer_range=0.5)


def save_encoder_decoder(folder: Path) -> Path:
    """Save a ViT with a GPT-2, without a processor and a padding token, as nlpconnect/vit-gpt2-image-captioning."""
    byte_tokenizer(pads=False).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    torch.manual_seed(0)
    vision = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=16,
        initializer_range=0.5,
    )
    language = GPT2Config(
        vocab_size=len(byte_tokenizer()),
        n_embd=16,
        n_layer=1,
        n_head=2,
        n_positions=64,
        bos_token_id=BOS,
        eos_token_id=EOS,
        initializer_range=0.5,
        add_cross_attention=True,
        is_decoder=True,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, language)
    config.decoder_start_token_id, config.pad_token_id = BOS, EOS
    model = VisionEncoderDecoderModel(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=BOS, eos_token_id=EOS, pad_token_id=EOS, suppress_tokens=all_but_letters()
    )
    model.save_pretrained(folder)
    return folder


def save_llava(folder: Path) -> Path:
    """Save a chat model of CLIP's image encoder and a Llama."""
    tokenizer = byte_tokenizer(extra_special_tokens={"image_token": "<image>"})
    pixels = CLIPImageProcessorPil(size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        pixels,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    ).save_pretrained(folder)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**shape, image_size=32, patch_size=16, initializer_range=0.5),
        text_config=LlamaConfig(
            **shape,
            vocab_size=len(tokenizer),
            max_position_embeddings=200,
            bos_token_id=BOS,
            pad_token_id=PAD,
            eos_token_id=EOS,
            initializer_range=0.5,
        ),
        image_token_index=IMAGE,
        image_seq_length=4,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config = GenerationConfig(eos_token_id=EOS, pad_token_id=PAD, suppress_tokens=all_but_letters())
    model.save_pretrained(folder)
    return folder


def save_blip2(folder: Path) -> Path:
    """Save a BLIP-2, a language model that continues the image and the question."""
    pixels = BlipImageProcessorPil(size={"height": 32, "width": 32})
    tokenizer = byte_tokenizer()
    Blip2Processor(pixels, tokenizer, num_query_tokens=2).save_pretrained(folder)
    torch.manual_seed(0)
    language = OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=16,
        max_position_embeddings=200,
        word_embed_proj_dim=16,
        bos_token_id=BOS,
        pad_token_id=PAD,
        eos_token_id=EOS,
        init_std=0.5,
    )
    config = Blip2Config(
        vision_config=Blip2VisionConfig(**SHAPE, image_size=32, patch_size=16),
        qformer_config=Blip2QFormerConfig(**SHAPE, vocab_size=8, encoder_hidden_size=16),
        text_config=language,
        num_query_tokens=2,
        image_token_index=IMAGE,
    )
    Blip2ForConditionalGeneration(config).save_pretrained(folder)
    return folder
