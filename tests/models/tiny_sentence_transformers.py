"""Tiny models of sentence-transformers with random weights, saved in the published layouts."""

import string
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.cross_encoder.modules import LogitScore
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    SiglipProcessor,
)

SIDE_PX = 32
TEXT_TOKENS = 16
WIDTH = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = WIDTH | {"image_size": SIDE_PX, "patch_size": 16}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *string.punctuation, *"a the red blue green car dog boat yes no".split()]

PAIR_TEMPLATE = (
    "{% for message in messages %}{{ message.role }} {% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %} {% endfor %}"
)


def word_tokenizer(length: int = TEXT_TOKENS) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=length,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def save_clip(folder: Path, *, seed: int = 0) -> Path:
    """Save a dual encoder with 8 dimensions as a model of sentence-transformers."""
    torch.manual_seed(seed)
    ends = ["<|startoftext|>", "<|endoftext|>"]
    letters = string.ascii_letters + string.digits + string.punctuation
    vocabulary = {piece: i for i, piece in enumerate([*ends, *letters, *(f"{letter}</w>" for letter in letters)])}
    text = WIDTH | {
        "vocab_size": len(vocabulary),
        "max_position_embeddings": TEXT_TOKENS,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    plain = folder / "plain"
    CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=8)).save_pretrained(plain)
    CLIPProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": SIDE_PX}, crop_size=SIDE_PX),
        tokenizer=CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TEXT_TOKENS),
    ).save_pretrained(plain)
    model = SentenceTransformer(str(plain), device="cpu", local_files_only=True)
    model.save_pretrained(str(folder / "clip"), create_model_card=False)
    return folder / "clip"


def save_siglip(folder: Path) -> Path:
    """Save a SigLIP as published, without files for sentence-transformers."""
    torch.manual_seed(0)
    text = WIDTH | {"vocab_size": len(WORDS), "max_position_embeddings": TEXT_TOKENS, "projection_size": 16}
    SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(folder)
    size = {"height": SIDE_PX, "width": SIDE_PX}
    SiglipProcessor(SiglipImageProcessorPil(size=size), word_tokenizer(1_000_000_000)).save_pretrained(folder)
    return folder


def save_bert(folder: Path, *, prompts: dict[str, str] | None = None) -> Path:
    """Save a text embedder with 16 dimensions."""
    torch.manual_seed(0)
    plain = folder / "plain"
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **WIDTH)).save_pretrained(plain)
    word_tokenizer(32).save_pretrained(plain)
    transformer = Transformer(str(plain))
    model = SentenceTransformer(modules=[transformer, Pooling(16, "mean")], prompts=prompts, device="cpu")
    model.save_pretrained(str(folder / "bert"), create_model_card=False)
    return folder / "bert"


def save_text_cross_encoder(folder: Path, *, labels: int = 1) -> Path:
    """Save a cross-encoder for pairs of texts in the old layout."""
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, num_labels=labels, **WIDTH)
    BertForSequenceClassification(config).save_pretrained(folder)
    word_tokenizer(32).save_pretrained(folder)
    return folder


def save_seeing_cross_encoder(folder: Path, *, template: str = PAIR_TEMPLATE) -> Path:
    """Save a cross-encoder for a text and an image or a text, which scores "yes" against "no"."""
    torch.manual_seed(0)
    plain = folder / "plain"
    tokenizer = word_tokenizer(64)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    text = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=64, num_key_value_heads=2, **WIDTH)
    config = LlavaConfig(
        text_config=text,
        vision_config=CLIPVisionConfig(**VISION),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    LlavaForConditionalGeneration(config).save_pretrained(plain)
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": SIDE_PX}, crop_size=SIDE_PX),
        tokenizer=tokenizer,
        patch_size=VISION["patch_size"],
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(plain)
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    model = CrossEncoder(modules=[Transformer(str(plain), transformer_task="any-to-any"), LogitScore(yes, no)])
    model.save_pretrained(str(folder / "seeing"), create_model_card=False)
    return folder / "seeing"
