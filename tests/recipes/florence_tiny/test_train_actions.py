import numpy as np
import pytest
import torch

from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.models.registry import find_model
from florence_rag.models.video_coswin import VideoCoSwinForVideoClassification
from recipes.florence_tiny.synthetic.video_scenes import ACTIONS, IDLE, MIRRORED
from recipes.florence_tiny.train_actions import (
    ATTRIBUTES,
    ClipCollator,
    SyntheticClipDataset,
    build_recognizer,
    clip_times,
    train,
)
from tests.models import tiny

SMALL = FlorenceImageProcessor(size=32, fit="squash", enlarge=1.0)


def small_recognizer() -> VideoCoSwinForVideoClassification:
    torch.manual_seed(0)
    return VideoCoSwinForVideoClassification(tiny.video(id2label=dict(enumerate(ACTIONS)), attributes=ATTRIBUTES))


def test_clips_are_always_the_same_and_of_all_actions() -> None:
    data = SyntheticClipDataset(22, SMALL, frames=4)
    clips = [data[index] for index in range(len(data))]
    assert [clip.action for clip in clips] == [*ACTIONS, *ACTIONS]
    for index, clip in enumerate(clips[:5]):
        assert clip.pixels.shape == (4, 32, 32, 3)
        assert np.array_equal(clip.pixels, data[index].pixels)
    assert all((clip.actor is None) == (clip.action == IDLE) for clip in clips)


def test_held_out_clips_are_others() -> None:
    one, other = SyntheticClipDataset(1, SMALL)[0], SyntheticClipDataset(1, SMALL, held_out=True)[0]
    assert not np.array_equal(one.pixels, other.pixels)


def test_times_are_the_middles_of_equal_parts() -> None:
    assert clip_times(1.0, 3.0, 4) == [1.25, 1.75, 2.25, 2.75]
    assert clip_times(1.0, 3.0, 1) == [2.0]


def test_batches_fit_the_network() -> None:
    rows = [SyntheticClipDataset(11, SMALL, frames=6)[index] for index in range(11)]
    batch = ClipCollator(SMALL)(rows)
    assert batch["pixel_values"].shape == (11, 6, 3, 32, 32)
    assert set(batch["attribute_labels"]) == {"color", "object"}
    assert all(labels[ACTIONS.index(IDLE)] == -100 for labels in batch["attribute_labels"].values())
    found = small_recognizer()(**batch)
    assert found.loss.isfinite() and found.logits.shape == (11, len(ACTIONS))


def test_mirrored_clips_have_mirrored_labels() -> None:
    row = SyntheticClipDataset(1, SMALL, frames=2)[0]
    plain = ClipCollator(SMALL, augment=False)([row])["pixel_values"][0]
    batch = ClipCollator(SMALL)([row] * 30)
    turned = [MIRRORED[row.action] == ACTIONS[label] for label in batch["labels"].tolist()]
    assert True in turned and False in turned
    for pixels, flipped in zip(batch["pixel_values"], turned, strict=True):
        same, mirrored = ((pixels - other).abs().mean() for other in (plain, plain.flip(-1)))
        assert (mirrored < same) == flipped


def test_the_recognizer_starts_as_the_image_encoder() -> None:
    model = build_recognizer(find_model("florence-tiny").florence)
    assert model.config.id2label[0] == ACTIONS[0] and model.config.idle == IDLE
    assert model(torch.randn(1, 8, 3, 112, 112)).logits.shape == (1, len(ACTIONS))
    assert build_recognizer(find_model("florence-tiny").florence, frames=1).config.num_frames == 1


@pytest.mark.filterwarnings("ignore:'pin_memory'")
def test_training_resumes_from_its_checkpoint(tmp_path) -> None:
    how = {"batch": 2, "learning_rate": 1e-3, "seed": 0}
    data, collator = SyntheticClipDataset(4, SMALL, frames=6), ClipCollator(SMALL)
    model, other = small_recognizer(), small_recognizer()
    before = model.classifier.weight.detach().clone()
    train(model, data, collator, tmp_path / "run", steps=2, **how)
    assert not torch.equal(before, model.classifier.weight)
    train(other, data, collator, tmp_path / "run", steps=2, **how)
    torch.testing.assert_close(other.classifier.weight, model.classifier.weight)
