"""Names of models and their cards."""

import json

import pytest

from florence_rag.errors import ModelError
from florence_rag.models.registry import CARDS, DEFAULT, TINY, find_model


def test_default_models_of_a_card_have_the_required_role():
    for card in CARDS.values():
        for other, role in ((card.default_vqa, "answer"), (card.default_captioner, "describe")):
            assert other is None or role in CARDS[other].roles
        assert card.license and card.training_data and card.roles
        assert card.size_mb or card.family == "azure"


def test_the_default_is_for_photographs_and_the_built_in_model_needs_no_network():
    assert "photographs" in CARDS[DEFAULT].training_data and CARDS[DEFAULT].default_captioner
    assert CARDS[TINY].download_kind == ""
    assert {CARDS[name].download_kind for name in ("siglip2-base", "unicl-swin-tiny")} == {"repository", "file"}


@pytest.mark.parametrize(
    ("name", "role", "family", "source"),
    [
        ("owner/name", "embed", "sentence-transformers", "owner/name"),
        ("owner/name", "answer", "transformers", "owner/name"),
        ("owner/name", "describe", "transformers", "owner/name"),
        ("owner/Florence-2-mine", "describe", "florence-2", "owner/Florence-2-mine"),
        ("openai:gpt-4o-mini", "answer", "openai", "gpt-4o-mini"),
        ("florence-2:owner/name", "answer", "florence-2", "owner/name"),
    ],
)
def test_the_family_of_a_repository_follows_from_its_role_or_its_prefix(name, role, family, source):
    card = find_model(name, role)
    assert (card.name, card.family, card.source) == (name, family, source)


def test_the_family_of_a_folder_follows_from_its_files(tmp_path, monkeypatch):
    for name, content in {"ours": "florence", "looks": "meter", "tells": "florence2", "other": "clip"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": content}))
    monkeypatch.chdir(tmp_path)
    assert find_model("ours").family == "florence"
    assert find_model("ours").florence == tmp_path / "ours"
    assert find_model("looks", "answer").meter == tmp_path / "looks"
    assert find_model("tells", "answer").family == "florence-2"
    assert find_model("other").family == "sentence-transformers"
    assert find_model("other", "answer").family == "transformers"
    assert find_model("other").name == str(tmp_path / "other"), "the same model in another working folder"


def test_the_family_of_a_checkpoint_file_follows_from_its_role(tmp_path):
    file = tmp_path / "some.ckpt"
    file.touch()
    assert find_model(str(file)).family == "unicl"
    assert {find_model(str(file), role).family for role in ("answer", "match", "rerank")} == {"meter"}


def test_a_missing_role_is_an_error_that_lists_the_models_with_it():
    with pytest.raises(ModelError, match="'florence-2-base' lacks the role 'embed'; models with it: florence-tiny, s"):
        find_model("florence-2-base")


@pytest.mark.parametrize("name", ["nonsense", "./missing", "~/missing/folder", "/missing/folder"])
def test_an_unknown_model_is_an_error_that_lists_the_known_ones(name):
    with pytest.raises(ModelError, match=f"no model '{name}'; known: florence-tiny"):
        find_model(name)


def test_a_broken_configuration_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json' is not valid JSON"):
        find_model(str(tmp_path))


NO_REPOSITORIES = (
    *("a/..", "../a", "a/b@main", "a--b/c", "a/-b", "a/b.git", "a/b\n", " a/b", "a/b\x1b", "a//b", "a" * 5000 + "/b"),
    *("\u0430/b", "hf://a/b", "file:///etc", "a/b?c", "%2e/a", "~nobody/a", "\udcff/a", "a\\b/c", "a/b:c"),
)


@pytest.mark.parametrize("prefix", ["", "sentence-transformers:"])
@pytest.mark.parametrize("name", NO_REPOSITORIES)
def test_names_that_no_repository_has_are_refused(name, prefix):
    with pytest.raises(ModelError) as error:
        find_model(prefix + name)
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value) and len(str(error.value)) < 700
