"""Lower precision and other backends give nearly the same vectors."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest
import torch
from torch.nn import functional as F

from florence_rag.errors import InputError, MissingExtraError
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.inference_backends import SUPPORTED, accelerate
from florence_rag.models.layers.window import relative_position_index, shift_mask
from tests.models import tiny

SLOW = {
    "compile": [pytest.mark.slow, pytest.mark.filterwarnings("ignore")],  # it takes a minute, and torch warns of torch
    "openvino": [pytest.mark.slow],
}
EVERY = [
    pytest.param(backend, precision, marks=SLOW.get(backend, []))
    for backend, precisions in SUPPORTED.items()
    for precision in precisions
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return FlorenceModel(tiny.florence()).eval()


@pytest.fixture(scope="module")
def pixels(model):
    side = model.config.image_config.image_size
    return torch.randn(5, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def engine(model, pixels):
    """Open each combination once, because it takes seconds."""
    return cache(
        lambda backend, precision: accelerate(
            model, "get_image_features", pixels[:2], backend=backend, precision=precision
        )
    )


@pytest.mark.parametrize(("backend", "precision"), EVERY)
def test_vectors_have_nearly_the_same_direction_in_any_batch(model, pixels, engine, backend, precision):
    see = engine(backend, precision)
    with torch.inference_mode():
        expected = model.get_image_features(pixels)
        ours = see(pixels)
        one = see(pixels[3:4])
    assert ours.dtype == torch.float32 and ours.shape == expected.shape
    assert F.cosine_similarity(ours, expected).min() > (0.99 if precision == "int8" else 0.999)
    assert F.cosine_similarity(one, ours[3:4]).item() > 0.99


@pytest.mark.parametrize("precision", SUPPORTED["compile"])
def test_the_plain_function_is_compiled(model, pixels, monkeypatch, precision):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda run: compiled.append(run) or run)
    with torch.inference_mode():
        plain, ours = (
            accelerate(model, "get_image_features", pixels[:2], backend=backend, precision=precision)(pixels)
            for backend in ("torch", "compile")
        )
    assert torch.equal(plain, ours) and len(compiled) == 1


@pytest.mark.parametrize("backend", [pytest.param("openvino", marks=pytest.mark.slow), "onnx"])
def test_one_compiled_network_serves_several_threads(pixels, engine, backend):
    see = engine(backend, "fp32")
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(see, [pixels[i : i + 1] for i in range(5)] * 4))
    for i in range(5):
        assert all(torch.allclose(rows[i], rows[i + 5 * turn], atol=1e-5) for turn in range(4))


@pytest.mark.parametrize(("backend", "precision"), [("openvino", "int8"), ("torch", "fp8"), ("tpu", "fp32")])
def test_an_unsupported_combination_is_an_error_that_lists_the_supported_ones(model, pixels, backend, precision):
    with pytest.raises(InputError, match=f"'{backend}' with precision '{precision}'.*torch with fp32, bf16, int8"):
        accelerate(model, "get_image_features", pixels, backend=backend, precision=precision)


@pytest.mark.parametrize(("backend", "package"), [("openvino", "openvino"), ("onnx", "onnxscript")])
def test_a_missing_backend_is_an_error_that_names_its_extra(model, pixels, monkeypatch, backend, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"florence-rag\[{backend}\]"):
        accelerate(model, "get_image_features", pixels, backend=backend, precision="fp32")


@pytest.mark.parametrize("backend", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_exporting_an_unused_network_leaves_no_fake_tensors_in_its_caches(pixels, backend):
    relative_position_index.cache_clear()
    shift_mask.cache_clear()
    model = FlorenceModel(tiny.florence()).eval()
    accelerate(model, "get_image_features", pixels[:2], backend=backend, precision="fp32")
    with torch.inference_mode():
        assert torch.isfinite(model.get_image_features(pixels)).all()
