import json

import pytest

from florence_rag.datasets.images import ImageExample
from florence_rag.errors import InputError
from florence_rag.finetuning.unicl import distinct_labels, read_pairs, split_pairs


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
