import json
from dataclasses import replace

import pytest
import torch

from florence_rag.datasets.images import ImageExample
from florence_rag.embedding.florence import FlorenceEmbedder
from florence_rag.errors import InputError
from florence_rag.finetuning.settings import Settings
from florence_rag.finetuning.trainer import fine_tune
from florence_rag.finetuning.unicl import UniCLTask, collate_pairs, distinct_labels, read_pairs, split_pairs
from florence_rag.models.processing import FlorenceProcessor
from florence_rag.models.registry import find_model
from florence_rag.testing import color_frame

QUICK = Settings(steps=4, batch=8, checks=2, validation=0.2)
PROMPTS = ("a {} image",)


def test_a_dual_encoder_learns_classes_and_opens_by_name(start, colors, tmp_path):
    out = tmp_path / "mine"
    steps = []
    settings = replace(QUICK, steps=40, batch=16, learning_rate=3e-3)
    task = UniCLTask([colors], prompts=PROMPTS)
    result = fine_tune(task, out, start / "florence", name="small", settings=settings, progress=steps.append)
    assert result.after["zero-shot top-1"] == 1.0
    assert (result.examples, result.validation, result.steps) == (20, 4, 40)
    assert steps[-1].step == steps[-1].steps == 40
    embedder = FlorenceEmbedder.from_pretrained(find_model(str(out)).florence, "mine")
    images = embedder.embed_images([color_frame("red")])
    texts = embedder.embed_texts(["a red image", "a blue image"])
    assert (images @ texts.T).argmax() == 0
    card = (out / "florence" / "README.md").read_text("utf-8")
    assert "base model: `small`" in card and "4: blue, green, red, yellow" in card and "zero-shot top-1" in card
    json.dumps(result.to_dict())


def test_a_batch_shares_labels(start):
    processor = FlorenceProcessor.from_pretrained(start / "florence")
    pixels = torch.zeros(32, 32, 3, dtype=torch.uint8).numpy()
    keys = [("label", "a"), ("text", "b"), ("label", "a"), ("text", "c")]
    rows = [{"pixels": pixels, "text": text, "key": key} for key, text in zip(keys, "wxyz", strict=True)]
    batch = collate_pairs(processor, rows)
    assert batch["positives"].tolist() == [0, 1, 0, 2] and batch["pixel_values"].shape == (4, 3, 32, 32)


def test_texts_and_labels_are_learned_together(start, colors, tmp_path):
    table = tmp_path / "captions.csv"
    rows = "".join(f"data/{color}/0.png,something {color}\n" for color in ("red", "blue", "green", "yellow"))
    table.write_text("image,text\n" + rows + "data/gone.png,nothing\n")
    (colors / "red" / "damaged.png").write_text("no image")
    task = UniCLTask([colors, table], prompts=PROMPTS)
    result = fine_tune(task, tmp_path / "mine", start / "florence", settings=QUICK)
    assert set(result.after) == {"zero-shot top-1", "image-to-text R@1", "text-to-image R@1"}
    assert result.examples + result.validation == 28
    assert sorted(failure.source.rsplit("/")[-1] for failure in result.failed) == ["damaged.png", "gone.png"]


def karpathy(*images):
    return json.dumps({"images": list(images)})


def test_karpathys_splits_are_kept_without_the_test_split(tmp_path):
    rows = [
        {
            "filepath": "val2014",
            "filename": f"{split}.jpg",
            "split": split,
            "sentences": [{"raw": "one"}, {"raw": split}],
        }
        for split in ("train", "restval", "val", "test")
    ]
    (tmp_path / "coco.json").write_text(karpathy(*rows))
    found = read_pairs(tmp_path / "coco.json")
    assert [each.split for each in found] == ["train", "restval", "val"]
    assert found[0].path == tmp_path / "val2014" / "train.jpg" and found[0].captions == ("one", "train")
    learn, check = split_pairs(found, 0.1, 0)
    assert [each.path.stem for each in learn] == ["train", "restval"] and [each.path.stem for each in check] == ["val"]


def test_a_test_split_alone_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(karpathy({"filename": "a", "split": "test", "sentences": []}))
    with pytest.raises(InputError, match=r"all images .* is 'test'; training uses train, restval, val"):
        read_pairs(tmp_path / "a.json")


def test_one_class_alone_is_refused(tmp_path):
    with pytest.raises(InputError, match="of one class or text, 'cat'"):
        split_pairs([ImageExample(tmp_path, label=label) for label in ("cat", "Cat")], 0.1, 0)


def test_validation_data_alone_are_refused(tmp_path):
    with pytest.raises(InputError, match="nothing to learn from"):
        split_pairs([ImageExample(tmp_path, (text,), split="val") for text in "ab"], 0.1, 0)


def test_labels_are_compared_without_case(tmp_path):
    assert distinct_labels([ImageExample(tmp_path, label=label) for label in ("dog", "Cat", "cat")]) == ["Cat", "dog"]
