from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    SiglipImageProcessorPil,
)

from florence_rag.errors import InputError, ModelError
from florence_rag.loading.loaders import CAPTIONER
from florence_rag.loading.model_loader import load_model
from florence_rag.loading.model_options import ModelOptions
from florence_rag.perception.base import Captioner
from florence_rag.perception.florence2 import Florence2
from florence_rag.perception.transformers_captioner import INSTRUCTION, TransformersCaptioner
from florence_rag.perception.transformers_model import open_model
from tests.perception.tiny import (
    BOS,
    CHAT,
    EOS,
    IMAGE,
    PAD,
    SHAPE,
    all_but_letters,
    byte_tokenizer,
    noise,
    save_blip,
    save_blip2,
    save_blip_captioner,
    save_encoder_decoder,
    save_florence2,
    save_llava,
    save_vilt,
)

FRAMES = [noise(0), noise(1, 32, 32), noise(2, 90, 20), noise(3), noise(4)]
SAVED = {"blip": save_blip_captioner, "encoder-decoder": save_encoder_decoder, "chat": save_llava, "blip-2": save_blip2}


def load(folder, **options) -> TransformersCaptioner:
    return TransformersCaptioner.from_pretrained(folder, name="tiny", device="cpu", **{"max_tokens": 6, **options})


def load_recording(folder, **options) -> tuple[TransformersCaptioner, list[str]]:
    """Return a captioner, and a list that receives the text that the model reads with an image."""
    model, processor = open_model(AutoModelForImageTextToText, folder, name="tiny", unused_weights=True)
    captioner = TransformersCaptioner(model, processor, name="tiny", **{"max_tokens": 6, **options})
    prompts, generate = [], model.generate

    def record(**inputs):
        prompts.extend(processor.batch_decode(inputs["input_ids"], skip_special_tokens=True))
        return generate(**inputs)

    model.generate = record
    return captioner, prompts


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: save(tmp_path_factory.mktemp(name)) for name, save in SAVED.items()}


@pytest.mark.parametrize("name", SAVED)
def test_captions_do_not_depend_on_the_batch_size(folders, name):
    many, one = load(folders[name], batch=5), load(folders[name], batch=1)
    captions = many.caption(FRAMES)
    assert isinstance(many, Captioner)
    assert captions == one.caption(FRAMES) == many.caption(FRAMES[:3]) + many.caption(FRAMES[3:])
    assert len(set(captions)) > 1 and many.caption([]) == []


def test_blip_reads_the_image_alone(folders):
    model, processor = open_model(AutoModelForImageTextToText, folders["blip"], name="tiny", device="cpu")
    inputs = processor(images=[Image.fromarray(noise(0))], return_tensors="pt")
    expected = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    assert load(folders["blip"]).caption([noise(0)]) == processor.batch_decode(expected, skip_special_tokens=True)


def test_a_chat_model_reads_the_instruction_and_does_not_repeat_it(folders):
    captioner, prompts = load_recording(folders["chat"])
    captions = captioner.caption(FRAMES)
    assert prompts[0] == f"user: {INSTRUCTION}; assistant: "
    assert all("Describe" not in caption and "user" not in caption for caption in captions)
    captioner, prompts = load_recording(folders["chat"], prompt="What?")
    captioner.caption([noise(0)])
    assert "What?" in prompts[0]


def test_max_tokens_limits_a_caption(folders):
    assert all(len(caption) <= 2 for caption in load(folders["chat"], max_tokens=2).caption(FRAMES))


def test_threads_share_a_model(folders):
    captioner = load(folders["blip"], max_tokens=3)
    expected = [captioner.caption([frame]) for frame in FRAMES]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda frame: captioner.caption([frame]), FRAMES * 2)) == expected * 2


def test_bf16_generates_captions(folders):
    assert len(load(folders["encoder-decoder"], precision="bf16").caption(FRAMES[:2])) == 2


def test_a_model_that_also_reads_videos_needs_no_torchvision(tmp_path):
    tokenizer = byte_tokenizer()
    marks = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    tokenizer.add_tokens(marks, special_tokens=True)
    tokenizer.save_pretrained(tmp_path)
    chat = CHAT.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
    (tmp_path / "chat_template.jinja").write_text(chat)
    pixels = Qwen2VLImageProcessorPil(patch_size=8, min_pixels=16 * 16, max_pixels=32 * 32, merge_size=2)
    pixels.save_pretrained(tmp_path)
    image, video, start, end = tokenizer.convert_tokens_to_ids(marks)
    language = {
        **SHAPE,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 400,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
        "initializer_range": 0.5,
    }
    eye = {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "patch_size": 8, "mlp_ratio": 1}
    config = Qwen2VLConfig(
        vision_config=eye | {"initializer_range": 0.5},
        text_config=language,
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    torch.manual_seed(2)
    model = Qwen2VLForConditionalGeneration(config)
    silent = [*all_but_letters(), *range(len(byte_tokenizer()), len(tokenizer))]
    model.generation_config.update(bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, suppress_tokens=silent)
    model.save_pretrained(tmp_path)
    captioner = load(tmp_path, batch=3)
    captions = captioner.caption(FRAMES)  # of different shapes, so of different lengths
    assert captions == load(tmp_path, batch=1).caption(FRAMES) and len(set(captions)) > 1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in its processor
def test_paligemma_reads_the_prompt_of_its_training(tmp_path):
    tokenizer = byte_tokenizer(extra_special_tokens={"image_token": "<image>"})
    pixels = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    pixels.image_seq_length = 4
    PaliGemmaProcessor(pixels, tokenizer).save_pretrained(tmp_path)
    language = {**SHAPE, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": len(tokenizer)}
    config = PaliGemmaConfig(
        vision_config={**SHAPE, "model_type": "siglip_vision_model", "image_size": 32, "patch_size": 16},
        text_config={**language, "model_type": "gemma", "pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS},
        image_token_index=IMAGE,
        projection_dim=16,
    )
    PaliGemmaForConditionalGeneration(config).save_pretrained(tmp_path)
    captioner, prompts = load_recording(tmp_path)
    assert len(captioner.caption(FRAMES)) == len(FRAMES)
    assert prompts == ["caption en\n"] * len(FRAMES)


@pytest.mark.parametrize("save", [save_vilt, lambda folder: byte_tokenizer().save_pretrained(folder)])
def test_a_model_that_generates_no_text_about_images_is_refused(tmp_path, save):
    save(tmp_path)
    with pytest.raises(ModelError, match=r"'tiny' (is a vilt, which writes nothing|cannot be opened)") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_that_cannot_caption_is_an_error_when_it_is_loaded(tmp_path):
    folder = save_llava(tmp_path)
    (folder / "chat_template.jinja").write_text("{{ 'no image in it' }}")
    with pytest.raises(ModelError, match="'tiny', a llava, cannot describe images: ") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_weights_of_another_task_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"missing keys: text_decoder\.|cannot be opened"):
        folder = save_blip_captioner(tmp_path)
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
        load(folder)


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"batch": -1}])
def test_wrong_settings_are_refused(folders, wrong):
    with pytest.raises(InputError, match="must be at least 1"):
        load(folders["blip"], **wrong)


def test_the_files_decide_which_captioner_a_name_loads(folders, tmp_path):
    options = ModelOptions(offline=True, device="cpu")
    florence2 = save_florence2(tmp_path)
    assert isinstance(load_model(CAPTIONER, str(folders["blip"]), options), TransformersCaptioner)
    assert isinstance(load_model(CAPTIONER, f"transformers:{folders['chat']}", options), TransformersCaptioner)
    assert isinstance(load_model(CAPTIONER, str(florence2), options), Florence2)
    assert isinstance(load_model(CAPTIONER, f"transformers:{florence2}", options), Florence2)
    with pytest.raises(ModelError, match="of the family 'sentence-transformers' lack the role 'describe'"):
        load_model(CAPTIONER, f"sentence-transformers:{folders['blip']}", options)


def test_a_blip_for_questions_captions_with_the_same_weights(tmp_path):
    """Its weights lack nothing that a BLIP for captions has."""
    assert len(load(save_blip(tmp_path)).caption(FRAMES[:2])) == 2
