"""What each stage of the default models costs, beside plain calls of transformers on the same weights.

The networks have the shapes of siglip2-base, florence-2-base and blip-vqa-base, and random weights, because released
ones are not on every machine. Both sides generate the same number of tokens. Each pair is measured in turn, and the
best of several passes counts.

python benchmarks/default_models.py [--images 1] [--passes 2] [--json FILE]
"""

from __future__ import annotations

import json
import string
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModel,
    AutoModelForVisualQuestionAnswering,
    AutoProcessor,
    BartConfig,
    BertTokenizer,
    BlipConfig,
    BlipForQuestionAnswering,
    BlipImageProcessorPil,
    BlipProcessor,
    CLIPImageProcessorPil,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    Florence2VisionConfig,
    GemmaTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    SiglipProcessor,
)
from transformers.utils import logging

from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.embedding.sentence_transformers import SentenceTransformerEmbedder
from florence_rag.perception.florence2 import Florence2
from florence_rag.perception.transformers_vqa import TransformersVQA

CAPTION_TOKENS, ANSWER_TOKENS = 20, 4
QUESTION = "what color is the car?"
CAPTION_PROMPT = "<CAPTION>"


def fill(words: list[str], size: int) -> dict[str, int]:
    """Return a vocabulary of this size that begins with the words."""
    return {word: i for i, word in enumerate([*words, *(f"unused{i}" for i in range(size - len(words)))])}


def save_siglip2(folder: Path) -> None:
    """Save a SigLIP with the shape of siglip2-base-patch16-224."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *string.printable[:94]]
    vocabulary = fill([*words, *(f"<0x{byte:02X}>" for byte in range(256))], 256_000)
    text = {"vocab_size": len(vocabulary), "max_position_embeddings": 64}
    SiglipModel(SiglipConfig(text_config=text, vision_config={"image_size": 224, "patch_size": 16})).save_pretrained(
        folder
    )
    tokenizer = GemmaTokenizer(vocab=vocabulary, merges=[], add_bos_token=False, add_eos_token=True)
    SiglipProcessor(SiglipImageProcessorPil(size={"height": 224, "width": 224}), tokenizer).save_pretrained(folder)


def save_florence2(folder: Path) -> None:
    """Save a Florence-2 with the shape of Florence-2-base."""
    words = ["<s>", "<pad>", "</s>", "<unk>", "<image>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab=fill(words, 51_289), merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )
    size = {"height": 768, "width": 768}
    Florence2Processor(
        CLIPImageProcessorPil(size=size, do_center_crop=False, image_seq_length=577), tokenizer
    ).save_pretrained(folder)
    language = BartConfig(
        vocab_size=51_289,
        d_model=768,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=12,
        decoder_attention_heads=12,
        encoder_ffn_dim=3072,
        decoder_ffn_dim=3072,
        max_position_embeddings=4096,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    vision = Florence2VisionConfig(projection_dim=768)
    model = Florence2ForConditionalGeneration(
        Florence2Config(vision_config=vision, text_config=language, image_token_id=4)
    )
    model.generation_config.eos_token_id = 2
    model.save_pretrained(folder)


def save_blip(folder: Path) -> None:
    """Save a BLIP with the shape of blip-vqa-base."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"what color is the car ? a photo of".split()]
    tokenizer = BertTokenizer(vocab=fill(words, 30_522))
    BlipProcessor(BlipImageProcessorPil(size={"height": 384, "width": 384}), tokenizer).save_pretrained(folder)
    text = {"vocab_size": 30_524, "bos_token_id": 30_522, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    BlipForQuestionAnswering(BlipConfig(text_config=text)).save_pretrained(folder)


def stages(folder: Path, frames: list[np.ndarray]) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Return for each stage what this package does and the plain calls of transformers, each for all images."""
    images = [Image.fromarray(frame) for frame in frames]
    texts = [f"a photo of car {number}" for number in range(len(frames))]

    embedder = SentenceTransformerEmbedder.from_pretrained(folder / "siglip2", name="siglip2", device="cpu")
    siglip = AutoModel.from_pretrained(folder / "siglip2").eval()
    siglip_inputs = AutoProcessor.from_pretrained(folder / "siglip2", backend="pil")

    captioner = Florence2.from_pretrained(folder / "florence2", name="florence2", max_tokens=CAPTION_TOKENS)
    florence = Florence2ForConditionalGeneration.from_pretrained(folder / "florence2").eval()
    florence_inputs = AutoProcessor.from_pretrained(folder / "florence2", backend="pil")

    vqa = TransformersVQA.from_pretrained(folder / "blip", name="blip", max_tokens=ANSWER_TOKENS)
    blip = AutoModelForVisualQuestionAnswering.from_pretrained(folder / "blip").eval()
    blip_inputs = AutoProcessor.from_pretrained(folder / "blip", backend="pil")

    def caption() -> Any:
        inputs = florence_inputs(images=images, text=[CAPTION_PROMPT] * len(images), return_tensors="pt")
        return florence.generate(**inputs, max_new_tokens=CAPTION_TOKENS, num_beams=3, do_sample=False)

    def answer() -> Any:
        for image in images:
            inputs = blip_inputs(images=[image], text=[QUESTION], return_tensors="pt")
            blip.generate(**inputs, max_new_tokens=ANSWER_TOKENS, num_beams=5, num_return_sequences=5)

    return {
        "embed an image": (
            lambda: embedder.embed_images(frames),
            lambda: siglip.get_image_features(**siglip_inputs(images=images, return_tensors="pt")),
        ),
        "embed a text": (
            lambda: embedder.embed_texts(texts),
            lambda: siglip.get_text_features(
                **siglip_inputs(text=texts, padding="max_length", max_length=64, return_tensors="pt")
            ),
        ),
        f"caption an image ({CAPTION_TOKENS} tokens)": (lambda: captioner.caption(frames), caption),
        f"answer about an image ({ANSWER_TOKENS} tokens)": (
            lambda: [vqa.answer(frame, QUESTION) for frame in frames],
            answer,
        ),
    }


def best_s(passes: int, *calls: Callable[[], Any]) -> list[float]:
    """Return the shortest time of each call, which take turns."""
    best = [float("inf")] * len(calls)
    for _ in range(passes):
        for place, call in enumerate(calls):
            started = time.perf_counter()
            with torch.inference_mode():
                call()
            best[place] = min(best[place], time.perf_counter() - started)
    return best


def main(
    images: Annotated[int, typer.Option(min=1, help="The images of 640 x 480 in each pass.")] = 1,
    passes: Annotated[int, typer.Option(min=1)] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file, too.")] = None,
) -> None:
    """Print seconds per image of this package and of transformers, and their ratio."""
    quiet_libraries()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(0)
    frames = list(np.random.default_rng(0).integers(0, 256, (images, 480, 640, 3), dtype=np.uint8))
    table = Table("stage", "here", "transformers", "ratio", title="seconds per item")
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_siglip2(folder / "siglip2")
        save_florence2(folder / "florence2")
        save_blip(folder / "blip")
        for stage, calls in stages(folder, frames).items():
            ours, plain = (seconds / images for seconds in best_s(passes, *calls))
            rows[stage] = {"here_s": ours, "transformers_s": plain, "ratio": ours / plain}
            table.add_row(stage, f"{ours:.3f}", f"{plain:.3f}", f"{ours / plain:.2f}")
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    typer.run(main)
