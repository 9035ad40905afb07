"""The same network in fewer bits or on another engine: faster, with vectors that point the same way.

Which combination is how fast on this machine, and how near to fp32 its vectors stay: benchmarks/precision.py.
"compile" is torch.compile. It takes a minute or more before the first vector and again for other sizes of batch, so it
is for GPUs and long runs: on CPUs it gave 1.06 of plain PyTorch for Swin-T and 0.57 for ViT-B/32.
"""

from __future__ import annotations

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
    """A method of a network as a module, so that engines can take it."""

    def __init__(self, network: nn.Module, run: str) -> None:
        super().__init__()
        self.network = network
        self.run = run

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = getattr(self.network, self.run)(inputs)
        return result


def check_acceleration(backend: str, precision: str, device: torch.device) -> None:
    """InputError for a combination that there is not."""
    if precision not in SUPPORTED.get(backend, ()):
        known = "; ".join(f"{name} with {', '.join(precisions)}" for name, precisions in SUPPORTED.items())
        raise InputError(f"backend {backend!r} with precision {precision!r} is not supported; there are {known}")
    if device.type != "cpu" and (backend not in ("torch", "compile") or precision == "int8"):
        raise InputError(
            f"backend {backend!r} with precision {precision!r} runs on CPUs only; use torch or compile with bf16"
        )


def accelerated(network: nn.Module, run: str, example: Tensor, *, backend: Backend, precision: Precision) -> Run:
    """The method `run` of a network, from one tensor to one float32 tensor.

    example: an input such as it will get, whose first axis is the batch. Raises InputError for a combination that there
    is not, MissingExtraError where the engine is not installed.
    """
    check_acceleration(backend, precision, example.device)
    module = _Method(network, run).eval()
    if backend == "openvino":
        return _openvino(module, example, precision)
    if backend == "onnx":
        return _onnx(module, example)
    if precision == "int8":
        return _quantized(module)
    method: Run = _autocast(module) if precision == "bf16" else module
    return torch.compile(method) if backend == "compile" else method


def _autocast(module: nn.Module) -> Run:
    """Products in bfloat16; sums, norms and exponentials where they need it in float32.

    Their weights are made bfloat16 once, since autocast would convert them again in every pass.
    """
    half = deepcopy(module)
    for layer in half.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            layer.to(torch.bfloat16)

    def run(inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16):
            result: Tensor = half(inputs).float()
            return result

    return run


def _quantized(module: nn.Module) -> Run:
    """Linear layers with int8 weights; their inputs are scaled to int8 as they come."""
    with warnings.catch_warnings():
        # Announced for removal from torch; its successor, torchao, needs a compiler on the user's machine for this.
        warnings.simplefilter("ignore")
        small: Run = torch.ao.quantization.quantize_dynamic(deepcopy(module), {nn.Linear}, dtype=torch.qint8)
    return small


def _openvino(module: nn.Module, example: Tensor, precision: Precision) -> Run:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "openvino") from error
    hints = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32", "PERFORMANCE_HINT": "LATENCY"}
    # Tracing looks at all that a network has, of which transformers tells that there is no loss. An interrupt amid it
    # prints pages, or aborts the process.
    with DeferredSignals(), warnings.catch_warnings(), quiet("transformers.modeling_utils"), torch.no_grad():
        warnings.simplefilter("ignore")  # of every shape that becomes a constant; only the batch varies
        module(example)  # what layers keep from a first pass must not be made while it is traced
        graph: Any = openvino.convert_model(module, example_input=example)
    compiled = openvino.Core().compile_model(graph, "CPU", hints)

    def run(inputs: Tensor) -> Tensor:
        # A request of its own for each call: one compiled model serves several threads.
        results = compiled.create_infer_request().infer({0: inputs.numpy()})
        return torch.from_numpy(results[0].copy())

    return run


def _onnx(module: nn.Module, example: Tensor) -> Run:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # torch exports by it, and says so only from deep inside
    except ImportError as error:
        raise MissingExtraError("onnxscript", "onnx") from error
    any_batch = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings(), quiet("torch.onnx"), torch.no_grad():
        warnings.simplefilter("ignore")
        module(example)  # what layers keep from a first pass must not be kept from the export, whose tensors are hollow
        program: Any = torch.onnx.export(module, (example,), dynamo=True, dynamic_shapes=any_batch, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    graph = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    return lambda inputs: torch.from_numpy(session.run(None, {name: inputs.numpy()})[0])


@contextmanager
def quiet(logger: str) -> Iterator[None]:
    """Without the warnings of a library about what does not concern us."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
