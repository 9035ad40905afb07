import json

import pytest

from florence_rag.datasets.images import (
    ImageExample,
    read_captioned_images,
    read_class_names,
    read_images,
    read_labeled_images,
    rename_labels,
)
from florence_rag.errors import InputError


def karpathy(*images):
    return json.dumps({"images": list(images)})


def entry(name, *captions, **more):
    return {"filename": name, "split": "test", "sentences": [{"raw": text} for text in captions], **more}


def test_a_folder_of_class_folders(tmp_path):
    for name in ("dog/a.jpg", "cat/c.webp", "e.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    expected = [ImageExample(tmp_path / "cat/c.webp", label="cat"), ImageExample(tmp_path / "dog/a.jpg", label="dog")]
    assert read_images(tmp_path) == read_labeled_images(tmp_path) == expected


def test_tables_of_texts_and_labels(tmp_path):
    (tmp_path / "a.csv").write_text("image,caption,label\na.png,a cat,\nb.png,,dog\n\n")
    (tmp_path / "b.jsonl").write_text('{"image": "a.png", "text": "a cat"}\n\n{"file": "b.png", "class": "dog"}\n')
    expected = [ImageExample(tmp_path / "a.png", ("a cat",)), ImageExample(tmp_path / "b.png", label="dog")]
    assert read_images(tmp_path / "a.csv") == read_images(tmp_path / "b.jsonl") == expected
    (moved,) = {each.path.parent for each in read_images(tmp_path / "a.csv", tmp_path / "elsewhere")}
    assert moved == tmp_path / "elsewhere"


@pytest.mark.parametrize("header", ["", "path,label\n", "\ufeffImage,Class\n"])
def test_a_table_lists_paths_relative_to_its_own_folder(tmp_path, header):
    table = tmp_path / "set.csv"
    table.write_text(f'{header}a.jpg,cat\n\n"deep/b, c.jpg", dog\n/away/d.jpg,cat\n', "utf-8")
    found = [(str(each.path), each.label) for each in read_labeled_images(table)]
    assert found == [(f"{tmp_path}/a.jpg", "cat"), (f"{tmp_path}/deep/b, c.jpg", "dog"), ("/away/d.jpg", "cat")]


def test_a_labeled_image_is_listed_once_and_has_one_label(tmp_path):
    table = tmp_path / "set.csv"
    table.write_text("a.png,cat\nb.png,dog\na.png,cat\n")
    assert [each.path.name for each in read_labeled_images(table)] == ["a.png", "b.png"]
    table.write_text("a.png,cat\na.png,dog\n")
    with pytest.raises(InputError, match=r"labels .*a\.png' both 'cat' and 'dog'"):
        read_labeled_images(table)


def test_karpathys_splits_keep_their_names(tmp_path):
    rows = [entry(f"{split}.jpg", "one", split, split=split, filepath="val2014") for split in ("train", "val", "test")]
    (tmp_path / "coco.json").write_text(karpathy(*rows))
    found = read_images(tmp_path / "coco.json")
    assert [each.split for each in found] == ["train", "val", "test"]
    assert found[0] == ImageExample(tmp_path / "val2014" / "train.jpg", ("one", "train"), split="train")
    (only,) = read_captioned_images(tmp_path / "coco.json", "elsewhere", split="val", captions=1)
    assert str(only.path) == "elsewhere/val2014/val.jpg" and only.captions == ("one",)


def test_the_first_five_captions_count(tmp_path):
    (tmp_path / "a.json").write_text(karpathy(entry("a.png", *"abcdefg", filepath="val2014")))
    (image,) = read_captioned_images(tmp_path / "a.json")
    assert image.captions == tuple("abcde") and image.path == tmp_path / "val2014" / "a.png"
    assert read_captioned_images(tmp_path / "a.json", "elsewhere", captions=2)[0].captions == ("a", "b")


def test_a_table_of_captions_has_no_splits(tmp_path):
    (tmp_path / "a.csv").write_text("image,text\na.png,one\nb.png,two\na.png,three\n")
    found = read_captioned_images(tmp_path / "a.csv")
    assert [(each.path.name, each.captions) for each in found] == [("a.png", ("one", "three")), ("b.png", ("two",))]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "picture,text\na.png,b\n", "has no column image; its columns are picture, text"),
        ("a.csv", "image,words\na.png,b\n", "has no column text or label"),
        ("a.csv", "image,text\na.png,\n", "row 2 .* has nothing in the column text"),
        ("a.csv", "image,label\na.png,\n", "row 2 .* has nothing in the column label"),
        ("a.csv", "a.jpg\n", "row 1 .* has nothing in the column label"),
        ("a.csv", "path,label\na.jpg,cat\nb.jpg,\n", "row 3"),
        ("a.csv", "image,text\n", "has no examples"),
        ("a.csv", "", "has no examples"),
        ("a.csv", b"\xff", "UTF-8"),
        ("a.jsonl", '{"image": 1}\nno', "line 1 .* has no column text"),
        ("a.jsonl", "no", "line 1 of .* is not JSON"),
        ("a.jsonl", "[]", "must be an object"),
        ("a.json", "no", "is not JSON"),
        ("a.json", "[]", "it must be an object with the field 'images'"),
        ("a.json", '{"images": {}}', "the field 'images' of the file .* must be a list"),
        ("a.json", karpathy(3), r"images\[0\] of .* must be an object"),
        ("a.json", karpathy({"filename": "a"}), r"images\[0\] of .* has no field 'split'"),
        ("a.json", karpathy({"filename": "a", "split": "train"}), "has no field 'sentences'"),
        ("a.json", karpathy({"filename": "a", "split": "train", "sentences": ["x"]}), "object with the field 'raw'"),
        ("a.json", karpathy({"filename": "a", "split": "test", "sentences": [{"text": "x"}]}), "has no field 'raw'"),
        ("a.json", karpathy({"filename": 7, "split": "train", "sentences": []}), "'filename' .* is 7; it must be a"),
        ("a.txt", "", "is not a data set"),
    ],
)
def test_an_error_names_the_wrong_field_and_its_place(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=message):
        read_images(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (karpathy(entry("a")), "has no caption, or an empty one"),
        (karpathy(entry("a", " ")), "has no caption, or an empty one"),
        (karpathy(entry("a", "x", split="val")), "has no split 'test'; it has val"),
    ],
)
def test_every_captioned_image_has_captions(tmp_path, content, message):
    (tmp_path / "captions.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_captioned_images(tmp_path / "captions.json")
    with pytest.raises(InputError, match="has no labeled images"):
        read_labeled_images(tmp_path / "captions.json")


def test_other_things_are_no_data_set(tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(InputError, match="has no examples; give a folder with a folder"):
        read_labeled_images(tmp_path)
    for name, message in (("photo.jpg", "is not a data set"), ("gone", "gone' does not exist; give a folder")):
        with pytest.raises(InputError, match=message):
            read_labeled_images(tmp_path / name)


def test_classes_can_be_named(tmp_path):
    (tmp_path / "names.json").write_text(json.dumps({"n01": "red", "blue": "blue", "n99": "not used"}))
    examples = [ImageExample(tmp_path, label=label) for label in ("n01", "blue", "n01")]
    named = rename_labels(examples, read_class_names(tmp_path / "names.json", [each.label for each in examples]))
    assert [each.label for each in named] == ["red", "blue", "red"]
    assert rename_labels(examples, {})[0].label == "n01"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"red": "x"}, "has no field 'blue'"),
        ({"red": "x", "blue": "x"}, "gives 'red' and 'blue' the same name, 'x'"),
        ({"red": 1, "blue": "x"}, "the field 'red' of .* must be a string"),
        (["red"], "must be an object"),
    ],
)
def test_wrong_names_are_reported(tmp_path, names, message):
    (tmp_path / "names.json").write_text(json.dumps(names))
    with pytest.raises(InputError, match=message):
        read_class_names(tmp_path / "names.json", ["red", "blue"])
