"""What each stage of the default models costs, beside plain calls of transformers on the same weights.

The networks have the shapes of siglip2-base, florence-2-base and blip-vqa-base, and random weights, because released
ones are not on every machine. Both sides generate the same number of tokens, with the generation config of Florence-2.
The calls of a stage take turns, and the best of several passes counts. Times are those of the processor.

python benchmarks/default_models.py [--images 4] [--passes 1] [--json FILE]
"""

from __future__ import annotations

import json
import random
import string
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.utils.flop_counter import FlopCounterMode
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
    GenerationConfig,
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
from florence_rag.perception.florence2_output import to_text
from florence_rag.perception.ocr import RapidOcrReader
from florence_rag.perception.transformers_vqa import TransformersVQA
from recipes.florence_tiny.synthetic.drawing import draw_scene
from recipes.florence_tiny.synthetic.scene import sample_scene

CAPTION_TOKENS, ANSWER_TOKENS, FAST_PX = 20, 4, 384
COLUMNS = "transformers", "ratio", "in a batch"
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
    model.generation_config = GenerationConfig(
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_bos_token_id=0,
        forced_eos_token_id=2,
        no_repeat_ngram_size=3,
        num_beams=3,
        early_stopping=True,
    )
    model.save_pretrained(folder)


def save_blip(folder: Path) -> None:
    """Save a BLIP with the shape of blip-vqa-base."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"what color is the car ? a photo of".split()]
    tokenizer = BertTokenizer(vocab=fill(words, 30_522))
    BlipProcessor(BlipImageProcessorPil(size={"height": 384, "width": 384}), tokenizer).save_pretrained(folder)
    text = {"vocab_size": 30_524, "bos_token_id": 30_522, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    BlipForQuestionAnswering(BlipConfig(text_config=text)).save_pretrained(folder)


Calls = Mapping[str, Callable[[], Any]]
"""What a stage calls, each for all images: "here", "transformers" one by one, and "in a batch"."""


def stages(folder: Path, frames: list[np.ndarray]) -> dict[str, Calls]:
    """Return the calls of each stage."""
    images = [Image.fromarray(frame) for frame in frames]
    texts = [f"a photo of car {number}" for number in range(len(frames))]
    ocr = RapidOcrReader()

    embedder = SentenceTransformerEmbedder.from_pretrained(folder / "siglip2", name="siglip2", device="cpu")
    siglip = AutoModel.from_pretrained(folder / "siglip2").eval()
    siglip_inputs = AutoProcessor.from_pretrained(folder / "siglip2", backend="pil")

    vqa = TransformersVQA.from_pretrained(folder / "blip", name="blip", max_tokens=ANSWER_TOKENS)
    blip = AutoModelForVisualQuestionAnswering.from_pretrained(folder / "blip").eval()
    blip_inputs = AutoProcessor.from_pretrained(folder / "blip", backend="pil")

    def embed_texts() -> Any:
        inputs = siglip_inputs(text=texts, padding="max_length", max_length=64, return_tensors="pt")
        return siglip.get_text_features(**inputs)

    def answer() -> Any:
        for image in images:
            inputs = blip_inputs(images=[image], text=[QUESTION], return_tensors="pt")
            blip.generate(**inputs, max_new_tokens=ANSWER_TOKENS, num_beams=5, num_return_sequences=5)

    return {
        "embed an image": {
            "here": lambda: embedder.embed_images(frames),
            "transformers": lambda: siglip.get_image_features(**siglip_inputs(images=images, return_tensors="pt")),
        },
        "embed a text": {"here": lambda: embedder.embed_texts(texts), "transformers": embed_texts},
        "read the text of an image": {"here": lambda: [ocr.read(frame) for frame in frames]},
        **caption_stages(folder / "florence2", frames),
        f"answer about an image ({ANSWER_TOKENS} tokens)": {
            "here": lambda: [vqa.answer(frame, QUESTION) for frame in frames],
            "transformers": answer,
        },
    }


def caption_stages(folder: Path, frames: list[np.ndarray]) -> dict[str, Calls]:
    """Return the calls that caption images: as by default, and from smaller images."""
    options: dict[str, Any] = {"name": "florence2", "max_tokens": CAPTION_TOKENS, "precision": "fp32"}
    captioner = Florence2.from_pretrained(folder, **options)
    fast = Florence2.from_pretrained(folder, **options, caption_px=FAST_PX)
    florence = Florence2ForConditionalGeneration.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder, backend="pil")

    def inputs(frames: list[np.ndarray]) -> Any:
        return processor(images=frames, text=[CAPTION_PROMPT] * len(frames), return_tensors="pt")

    def caption(frames: list[np.ndarray]) -> list[str]:
        tokens = florence.generate(**inputs(frames), max_new_tokens=CAPTION_TOKENS)
        return [to_text(text) for text in processor.batch_decode(tokens)]

    def one_by_one() -> list[str]:
        return [text for frame in frames for text in caption([frame])]

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        florence.generate(**inputs(frames[:1]), max_new_tokens=1, num_beams=1)
    products = counter.get_total_flops() / 2  # each counts as two, one addition and one multiplication
    square = torch.rand(1536, 1536)
    repeats = round(len(frames) * products / len(square) ** 3)
    return {
        f"caption an image ({CAPTION_TOKENS} tokens)": {
            "here": lambda: captioner.caption(frames),
            "transformers": one_by_one,
            "in a batch": lambda: caption(frames),
        },
        f"caption an image at {FAST_PX} pixels": {"here": lambda: fast.caption(frames)},
        "multiply as often as its encoders": {"here": lambda: [square @ square for _ in range(repeats)] and None},
    }


def best_s(passes: int, calls: Calls) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the shortest processor time of each call, which take turns, and what each returned."""
    best, results = dict.fromkeys(calls, float("inf")), {}
    for _ in range(passes):
        for name, call in calls.items():
            started = time.process_time()
            with torch.inference_mode():
                results[name] = call()
            best[name] = min(best[name], time.process_time() - started)
    return best, results


def main(
    images: Annotated[int, typer.Option(min=1, help="The images of 640 x 480 in each pass.")] = 4,
    passes: Annotated[int, typer.Option(min=1)] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file, too.")] = None,
) -> None:
    """Print seconds per image of this package and of transformers, and their ratio."""
    quiet_libraries()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng = random.Random("default models")
    frames = [np.asarray(draw_scene(sample_scene(rng, "any"), (640, 480)).convert("RGB")) for _ in range(images)]
    table = Table("stage", "here", "per second", "transformers", "ratio", "in a batch", title="CPU seconds per item")
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_siglip2(folder / "siglip2")
        save_florence2(folder / "florence2")
        save_blip(folder / "blip")
        for stage, calls in stages(folder, frames).items():
            best, results = best_s(passes, calls)
            row = {key: seconds / images for key, seconds in best.items()}
            rows[stage] = row | ({"ratio": row["here"] / row["transformers"]} if "transformers" in row else {})
            cells = [f"{rows[stage][key]:.2f}" if key in rows[stage] else "" for key in COLUMNS]
            table.add_row(stage, f"{row['here']:.2f}", f"{1 / row['here']:.2f}", *cells)
            if "in a batch" in calls:
                equal = results["here"] == results["transformers"]
                table.caption = f"The captions here and of transformers are {'equal' if equal else 'different'}."
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    typer.run(main)
