"""Released checkpoints by their cards: converted once, whole or not at all, and never one for the other."""

import pytest
import torch
from safetensors.torch import save_file

from florence_rag.errors import ModelError
from florence_rag.models import pretrained as released
from florence_rag.models.convert import CLIP_TOKENIZER
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.pretrained import released_folder
from florence_rag.models.registry import find_model
from florence_rag.models.strict_loading import open_strictly
from tests.models.fill import fill
from tests.models.reference import FILL_SEED, UNICL_LAYOUT, meter_layout
from tests.models.words import save_clip_words, save_roberta_words


class Shelf:
    """Has the tokenizers; nothing is fetched."""

    def __init__(self, folder):
        self.folder = folder
        self.asked = []

    def repository(self, name, **_):
        self.asked.append(name)
        return self.folder / ("clip" if name == CLIP_TOKENIZER else "roberta")


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    save_clip_words(tmp_path / "clip")
    save_roberta_words(tmp_path / "roberta")
    return Shelf(tmp_path)


@pytest.fixture
def towers(tmp_path):
    save_file(fill(UNICL_LAYOUT, FILL_SEED), tmp_path / "towers.safetensors")
    return tmp_path / "towers.safetensors"


@pytest.fixture
def meter(tmp_path):
    save_file(fill(meter_layout("clip16", 64, "vqa"), FILL_SEED), tmp_path / "meter.safetensors")
    return tmp_path / "meter.safetensors"


def test_a_checkpoint_is_converted_once_and_anew_when_it_changes(shelf, towers):
    folder = released_folder(find_model(str(towers)), shelf)
    assert open_strictly(FlorenceModel, folder, device="cpu").config.projection_dim == 48
    assert released_folder(find_model(str(towers)), shelf) == folder
    assert shelf.asked == [CLIP_TOKENIZER]
    save_file(fill(UNICL_LAYOUT, FILL_SEED + 1), towers)
    assert released_folder(find_model(str(towers)), shelf) != folder


@pytest.mark.parametrize(
    ("file", "role", "holds"),
    [
        ("meter", "embed", r"a METER, which answers and matches \(cross_modal_image_layers\.0\."),
        ("towers", "answer", r"a dual tower, which embeds \(image_encoder\."),
    ],
)
def test_a_checkpoint_of_the_other_family_is_refused_with_its_keys(shelf, towers, meter, file, role, holds):
    checkpoint = {"towers": towers, "meter": meter}[file]
    with pytest.raises(ModelError, match=rf"is not what '.*{file}.safetensors' was named for: it holds {holds}"):
        released_folder(find_model(str(checkpoint), role), shelf)
    assert shelf.asked == []


def test_weights_of_another_kind_are_refused_with_their_keys(shelf, tmp_path):
    save_file({"encoder.layer.0.weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"neither UniCL's nor METER's: encoder\.layer\.0\.weight"):
        released_folder(find_model(str(tmp_path / "other.safetensors")), shelf)


def test_a_checkpoint_without_some_of_its_weights_is_refused_with_their_names(shelf, tmp_path):
    weights = fill(UNICL_LAYOUT, FILL_SEED)
    del weights["logit_scale"]
    save_file({**weights, "image_encoder.extra": torch.ones(1)}, tmp_path / "gap.safetensors")
    with pytest.raises(ModelError, match=r"missing: .*logit_scale.*; unexpected: image_encoder\.extra"):
        released_folder(find_model(str(tmp_path / "gap.safetensors")), shelf)


def test_a_conversion_that_is_cut_off_leaves_nothing_that_looks_whole(shelf, towers, monkeypatch):
    def half(checkpoint, folder, **_):
        folder.mkdir()
        (folder / "config.json").write_text("{")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(released, "convert", half)
        with pytest.raises(KeyboardInterrupt):
            released_folder(find_model(str(towers)), shelf)
    assert (released_folder(find_model(str(towers)), shelf) / "model.safetensors").is_file()
