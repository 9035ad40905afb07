"""The recipe end to end, on a world of a few scenes and a network of a few weights."""

import numpy as np
import pytest
import torch

from florence_rag.embedding.florence import FlorenceEmbedder
from florence_rag.models.processing import FlorenceImageProcessor, FlorenceProcessor
from florence_rag.perception.meter import MeterMatcher, MeterVQA
from recipes.florence_tiny.grounding import WordRegions
from recipes.florence_tiny.scene_dataset import SceneCollator, SceneDataset
from recipes.florence_tiny.synthetic.vocabulary import ANSWERS
from recipes.florence_tiny.train import TinyShape, build_model, build_tokenizer, save

SHAPE = TinyShape(image_size=56, embed_dim=16, depths=(1, 1, 1), num_heads=(1, 2, 4), text_width=32, text_layers=1,
                  fusion_width=32, fusion_layers=1)  # fmt: skip


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    torch.manual_seed(0)
    processor = FlorenceImageProcessor(size=SHAPE.image_size, fit="squash", enlarge=1.0)
    tokenizer = build_tokenizer(SHAPE, scenes=50)
    dataset = SceneDataset(tmp_path_factory.mktemp("scenes"), 8, processor)
    regions = WordRegions(tokenizer, 4)
    batch = SceneCollator(tokenizer, processor, word_regions=regions)([dataset[i] for i in range(8)])
    return build_model(SHAPE, len(tokenizer)), batch, FlorenceProcessor(processor, tokenizer)


def test_every_weight_learns_and_the_loss_falls(parts):
    model, batch, _ = parts
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = model(**batch)["loss"]
        loss.backward()
        if not losses:
            assert not [name for name, p in model.named_parameters() if p.grad is None]
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_saved_models_load_separately(parts, tmp_path):
    model, _, processor = parts
    save(model, processor, tmp_path)
    embedder = FlorenceEmbedder.from_pretrained(tmp_path / "florence", "test", device="cpu")
    frames = [np.full((40, 60, 3), value, dtype=np.uint8) for value in (0, 90, 255)]
    vectors = embedder.embed_images(frames)
    assert vectors.shape == (3, SHAPE.projection_dim)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[1], embedder.embed_images(frames[1:2])[0], atol=1e-5)
    assert embedder.embed_texts([]).shape == (0, SHAPE.projection_dim)
    vqa = MeterVQA.from_pretrained(tmp_path / "meter", device="cpu")
    result = vqa.answer(frames[0], "What colour is the car?")
    assert result.answer in ANSWERS and 0 <= result.confidence <= 1
    fits = MeterMatcher.from_pretrained(tmp_path / "meter", device="cpu").match(frames, ["a red car"] * 3)
    assert fits.shape == (3,) and ((fits >= 0) & (fits <= 1)).all()
