import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.errors import InputError
from florence_rag.finetuning.dataset_io import left_out
from florence_rag.finetuning.pairs import Example, labels_of, parted, read_pairs


def karpathy(*images):
    return json.dumps({"images": list(images)})


def test_tables_of_texts_and_labels(tmp_path):
    (tmp_path / "a.csv").write_text("image,caption,label\na.png,a cat,\nb.png,,dog\n\n")
    (tmp_path / "b.jsonl").write_text('{"image": "a.png", "text": "a cat"}\n\n{"file": "b.png", "class": "dog"}\n')
    expected = [
        Example(tmp_path / "a.png", ("a cat",)),
        Example(tmp_path / "b.png", label="dog"),
    ]
    assert read_pairs(tmp_path / "a.csv") == read_pairs(tmp_path / "b.jsonl") == expected
    (moved,) = {each.image.parent for each in read_pairs(tmp_path / "a.csv", tmp_path / "elsewhere")}
    assert moved == tmp_path / "elsewhere"


def test_karpathy_splits_keep_their_parts_and_leave_the_test_alone(tmp_path):
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
    assert [each.part for each in found] == ["train", "train", "validation"]
    assert found[0].image == tmp_path / "val2014" / "train.jpg" and found[0].texts == ("one", "train")
    learn, kept = parted(found, 0.1, 0)
    assert [each.image.stem for each in learn] == ["train", "restval"] and [each.image.stem for each in kept] == ["val"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "picture,text\na.png,b\n", "has no column image; it has picture, text"),
        ("a.csv", "image,words\na.png,b\n", "has no column text or label"),
        ("a.csv", "image,text\na.png,\n", "row 2 .* has nothing in the column text"),
        ("a.csv", "image,text\n", "has no examples"),
        ("a.csv", "", "has no examples"),
        ("a.jsonl", '{"image": 1}\nno', "line 1 .* has no column text"),
        ("a.jsonl", "no", "line 1 of .* is no JSON"),
        ("a.jsonl", "[]", "must be an object"),
        ("a.json", "no", "is no JSON"),
        ("a.json", "[]", "has no list 'images'"),
        ("a.json", karpathy(3), r"images\[0\] of .* must be an object"),
        ("a.json", karpathy({"filename": "a"}), r"images\[0\] of .* has no field 'split'"),
        ("a.json", karpathy({"filename": "a", "split": "train"}), "has no field 'sentences'"),
        ("a.json", karpathy({"filename": "a", "split": "train", "sentences": ["x"]}), "has no field 'raw'"),
        ("a.json", karpathy({"filename": 7, "split": "train", "sentences": []}), "'filename' .* is 7"),
        ("a.json", karpathy({"filename": "a", "split": "test", "sentences": []}), "all images .* is 'test'; train,"),
        ("a.csv", "image,label\na.png,\n", "row 2 .* has nothing in the column label"),
        ("a.txt", "", "is no data set"),
    ],
)
def test_the_wrong_form_is_told_with_its_place(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_pairs(tmp_path / name)


def test_one_class_alone_teaches_nothing(tmp_path):
    with pytest.raises(InputError, match="of one class or text, 'cat'"):
        parted([Example(tmp_path, label=label) for label in ("cat", "Cat")], 0.1, 0)


def test_validation_data_alone_teach_nothing(tmp_path):
    with pytest.raises(InputError, match="nothing to learn from"):
        parted([Example(tmp_path, (text,), part="validation") for text in "ab"], 0.1, 0)


def test_labels_are_one_in_any_case(tmp_path):
    assert labels_of([Example(tmp_path, label=label) for label in ("dog", "Cat", "cat")]) == ["Cat", "dog"]


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=60), st.floats(0.01, 0.5), st.integers(0, 5))
def test_what_is_left_out_is_some_of_all_and_always_the_same(groups, share, seed):
    items = list(range(len(groups)))
    learn, kept = left_out(items, groups, share, seed)
    assert sorted(learn + kept) == items and kept and learn
    assert (learn, kept) == left_out(items, groups, share, seed)
    assert {groups[i] for i in items} >= {groups[i] for i in learn}
