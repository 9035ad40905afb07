"""Runs a network in lower precision or on another inference backend, with nearly the same vectors.

benchmarks/precision.py measures the speed of each combination on your machine and the distance of its vectors to fp32.
"compile" is torch.compile. It takes a minute or more before the first vector and again for other batch sizes, so it is
for GPUs and long runs: on CPUs it reached 1.06 of the speed of plain PyTorch for Swin-T and 0.57 for ViT-B/32.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from florence_rag.deferred_signals import DeferredSignals
from florence_rag.errors import InputError, MissingExtraError

Precision = Literal["fp32", "bf16", "int8"]
Backend = Literal["torch", "compile", "openvino", "onnx"]

SUPPORTED: Mapping[str, tuple[Precision, ...]] = MappingProxyType(
    {"torch": ("fp32", "bf16", "int8"), "compile": ("fp32", "bf16"), "openvino": ("fp32", "bf16"), "onnx": ("fp32",)}
)

Run = Callable[[Tensor], Tensor]


class _Method(nn.Module):
    """A method of a network as a module that a backend can export."""

    def __init__(self, network: nn.Module, method: str) -> None:
        super().__init__()
        self.network, self.method = network, method

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = getattr(self.network, self.method)(inputs)
        return result


def check_acceleration(backend: str, precision: str, device: torch.device) -> None:
    """Raise an InputError if the combination is not supported."""
    if precision not in SUPPORTED.get(backend, ()):
        known = "; ".join(f"{name} with {', '.join(precisions)}" for name, precisions in SUPPORTED.items())
        raise InputError(f"backend {backend!r} with precision {precision!r} is not supported; there are {known}")
    if device.type != "cpu" and (backend not in ("torch", "compile") or precision == "int8"):
        raise InputError(
            f"backend {backend!r} with precision {precision!r} runs on CPUs only; use torch or compile with bf16"
        )


def accelerate(network: nn.Module, method: str, example: Tensor, *, backend: Backend, precision: Precision) -> Run:
    """Return a fast equivalent of the method of this name, from one tensor to one float32 tensor.

    The first axis of `example` is the batch; later inputs differ from it only there. It is an InputError if the
    combination is not supported, and a MissingExtraError if the backend is not installed.
    """
    check_acceleration(backend, precision, example.device)
    module = _Method(network, method).eval()
    if backend == "openvino":
        return _openvino(module, example, precision)
    if backend == "onnx":
        return _onnx(module, example)
    if precision == "int8":  # of linear layers, whose inputs are scaled to int8 dynamically
        with warnings.catch_warnings():
            # torch will remove this function; its successor, torchao, needs a compiler on the user's machine for it.
            warnings.simplefilter("ignore")
            quantized: Run = torch.ao.quantization.quantize_dynamic(deepcopy(module), {nn.Linear}, dtype=torch.qint8)
        return quantized
    run: Run = _autocast(module) if precision == "bf16" else module
    return torch.compile(run) if backend == "compile" else run


def _autocast(module: nn.Module) -> Run:
    """Compute products in bfloat16, and sums, norms and exponentials in float32 where they need it."""
    half = deepcopy(module)
    for layer in half.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            layer.to(torch.bfloat16)  # once, because autocast would convert the weights in every pass

    def run(inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16):
            result: Tensor = half(inputs).float()
            return result

    return run


def _openvino(module: nn.Module, example: Tensor, precision: Precision) -> Run:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "openvino") from error
    hints = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32", "PERFORMANCE_HINT": "LATENCY"}
    # An interrupt during the conversion prints pages or aborts the process.
    with DeferredSignals(), _exporting(module, example, "transformers.modeling_utils"):
        graph: Any = openvino.convert_model(module, example_input=example)
    compiled = openvino.Core().compile_model(graph, "CPU", hints)

    def run(inputs: Tensor) -> Tensor:
        # Each call has its own request, so that one compiled model serves several threads.
        results = compiled.create_infer_request().infer({0: inputs.numpy()})
        return torch.from_numpy(results[0].copy())

    return run


def _onnx(module: nn.Module, example: Tensor) -> Run:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # torch exports by it, and reports its absence only from deep inside
    except ImportError as error:
        raise MissingExtraError("onnxscript", "onnx") from error
    any_batch = ({0: torch.export.Dim("batch")},)
    with _exporting(module, example, "torch.onnx"):
        program: Any = torch.onnx.export(module, (example,), dynamo=True, dynamic_shapes=any_batch, verbose=False)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of each constant that it does not fold
    options.intra_op_num_threads = torch.get_num_threads()
    graph = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    return lambda inputs: torch.from_numpy(session.run(None, {name: inputs.numpy()})[0])


@contextmanager
def _exporting(module: nn.Module, example: Tensor, logger: str) -> Iterator[None]:
    """Prepare a module for export, and silence warnings: of shapes that become constants, of attributes without use."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            module(example)  # fills the caches of the layers, which must not hold the tensors of a trace or an export
            yield
    finally:
        log.setLevel(level)
