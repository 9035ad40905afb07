import builtins
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from florence_rag.embedding.base import unit_rows
from florence_rag.errors import InputError, MissingExtraError, ModelError
from florence_rag.tasks.probe import LinearProbe, check_name, train_probe
from florence_rag.types import EmbedderInfo

INFO = EmbedderInfo("model", "abc", 8, "none")


def clusters(labels, each=12, spread=0.3, seed=0):
    rng = np.random.default_rng(seed)
    rows = [np.eye(8)[number] + spread * rng.normal(size=8) for number in range(len(labels)) for _ in range(each)]
    return unit_rows(np.array(rows)), [label for label in labels for _ in range(each)]


@pytest.mark.parametrize("labels", [("cat", "dog"), ("cat", "cow", "dog", "hen")])
def test_a_probe_learns_from_a_few_examples(labels):
    vectors, examples = clusters(labels)
    probe = train_probe(vectors, examples, INFO)
    unseen, truth = clusters(labels, seed=1)
    shares = probe.probabilities(unseen)
    assert np.allclose(shares.sum(axis=1), 1) and shares.shape == (len(truth), len(labels))
    right = [probe.labels[i] == label for i, label in zip(shares.argmax(axis=1), truth, strict=True)]
    assert np.mean(right) > 0.9 and probe.accuracy > 0.9
    assert probe.examples == dict.fromkeys(labels, 12)


def test_the_accuracy_is_cross_validated():
    rng = np.random.default_rng(0)
    noise = unit_rows(rng.normal(size=(40, 8)))
    assert train_probe(noise, ["a", "b"] * 20, INFO).accuracy < 0.8


def test_one_example_per_label_trains_but_measures_nothing():
    vectors, labels = clusters(("cat", "dog"), each=1)
    probe = train_probe(vectors, labels, INFO)
    assert probe.accuracy is None and probe.probabilities(vectors).argmax(axis=1).tolist() == [0, 1]


def test_one_class_only_is_refused():
    with pytest.raises(InputError, match="fewer than two"):
        train_probe(np.eye(8, dtype=np.float32)[:3], ["cat"] * 3, INFO)


def test_a_probe_survives_its_file(tmp_path):
    vectors, labels = clusters(("cat", "dög"))
    probe = train_probe(vectors, labels, INFO)
    path = tmp_path / "deep" / "pets.safetensors"
    probe.save(path)
    loaded = LinearProbe.load(path, INFO)
    assert (loaded.labels, loaded.examples, loaded.accuracy) == (probe.labels, probe.examples, probe.accuracy)
    assert np.array_equal(loaded.probabilities(vectors), probe.probabilities(vectors))
    assert list(path.parent.iterdir()) == [path]


def test_features_of_another_model_are_refused(tmp_path):
    path = tmp_path / "pets.safetensors"
    train_probe(*clusters(("cat", "dog")), INFO).save(path)
    with pytest.raises(ModelError, match=r"features of model \(abc\), not of model \(xyz\)"):
        LinearProbe.load(path, replace(INFO, fingerprint="xyz"))


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weights": np.zeros((2, 8), np.float32)}, path)
    with pytest.raises(ModelError, match="not a classifier that"):
        LinearProbe.load(path, INFO)
    path.write_bytes(b"\x80\x04}.")
    with pytest.raises(ModelError, match="cannot be read"):
        LinearProbe.load(path, INFO)


@pytest.mark.parametrize(
    "changes", [{"probe": "{"}, {"probe": "[]"}, {"probe": '{"labels": ["a", "b"]}'}, {"probe": '{"labels": 3}'}]
)
def test_a_damaged_header_is_an_error(tmp_path, changes):
    path = tmp_path / "pets.safetensors"
    train_probe(*clusters(("cat", "dog")), INFO).save(path)
    with safe_open(path, "np") as file:
        header, tensors = file.metadata(), {name: file.get_tensor(name) for name in ("weights", "bias")}
    save_file(tensors, path, header | changes)
    with pytest.raises(ModelError, match=r"the classifier '.+' cannot be read: "):
        LinearProbe.load(path, INFO)
    save_file(tensors, path, header | {"format": "florence_rag linear probe 2"})
    with pytest.raises(ModelError, match="was written by a newer florence-rag; install that, or train it again"):
        LinearProbe.load(path, INFO)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"florence-rag\[adapters\]"):
        train_probe(*clusters(("cat", "dog")), INFO)


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "x" * 101, "a\0b"])
def test_names_that_are_no_file_names_are_refused(name):
    with pytest.raises(InputError, match="not allowed"):
        check_name(name)
