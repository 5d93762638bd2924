"""An acoustic model as an ONNX file for sherpa-onnx.

sherpa-onnx accepts a few families of streaming models and reads the shapes of their states from metadata. Here a model
takes the place of a streaming Zipformer2 with one layer of width 4, kernel 3 and one frame of left context
(csrc/online-zipformer2-ctc-model.cc of sherpa-onnx): the keys of that layer hold the whole state, which is opaque to
sherpa-onnx and zero at the start of a stream. A step reads a window of features (see `WindowStep`) and returns
log-probabilities. Normalisation is part of the model.

Letters: N streams, T feature frames of a window, F feature bins, C frames of a centre, V units, K size of the state.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from augmem.encoder import WindowStep
from augmem.errors import UserError
from augmem.export import write_onnx
from augmem.files import atomic_path
from augmem.model import AcousticModel

MEMORY_RESET = 64  # segments, as in RecognizerOptions
_WIDTH = 4


class _Place(NamedTuple):
    """A state of the Zipformer2 besides the keys: its shape for one stream, and the axis of the streams."""

    shape: tuple[int, ...]
    axis: int


# All but `missing` are passed through unused. `missing` is the number of feature frames that do not exist at the end of
# a window: 0 in sherpa-onnx, which always fills its windows. Other programs set it in the last windows of a stream.
_PLACES = {
    "unused_weights": _Place((1, 1, 1, 3 * _WIDTH // 4), 1),
    "missing": _Place((1, 1, 1), 1),
    "unused_values": _Place((1, 1, 1), 1),
    "unused_convolution_1": _Place((1, _WIDTH, 1), 0),
    "unused_convolution_2": _Place((1, _WIDTH, 1), 0),
    "unused_embedding": _Place((1, 128, 3, 19), 0),
}
_STATES = ("state", *_PLACES, "steps")


class SherpaStep(nn.Module):
    """One step of the model with the inputs and outputs of a streaming Zipformer2.

    Args:
        model: model with an augmented-memory encoder.

    Raises:
        UserError: another type of encoder.
    """

    def __init__(self, model: AcousticModel) -> None:
        super().__init__()
        self.model = model
        self.step = WindowStep(model.encoder, MEMORY_RESET)
        self.shapes = [tuple(value.shape[1:]) for value in self.step.init_state(1).values()]
        self.sizes = [math.prod(shape) for shape in self.shapes]

    def forward(self, features: Tensor, state: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Run one step.

        Args:
            features: (N, T, F).
            state: (1, N, K), values of `WindowStep.init_state`.
            others: states of `_PLACES`, and the number of earlier steps (N,).

        Returns:
            log-probabilities (N, C, V), and the new states.
        """
        *places, steps = others
        missing = dict(zip(_PLACES, places, strict=True))["missing"]
        valid = self.step.window_frames - missing[0, :, 0].long()
        pieces = state[0].split(self.sizes, 1)
        values = [piece.reshape(-1, *shape) for piece, shape in zip(pieces, self.shapes, strict=True)]
        hidden, *new = self.step(self.model.normalise(features), valid, steps, *values)
        packed = torch.cat([value.flatten(1) for value in new], 1)[None]
        return self.model.score(hidden), packed, *(place + 0 for place in places), steps + 1

    def example(self) -> tuple[Tensor, ...]:
        """Return the inputs of a first step."""
        features = torch.zeros(1, self.step.window_frames, self.model.description.feature_dim)
        places = [torch.zeros(place.shape) for place in _PLACES.values()]
        return features, torch.zeros(1, 1, sum(self.sizes)), *places, torch.zeros(1, dtype=torch.int64)

    def metadata(self) -> dict[str, str]:
        """Return the metadata that sherpa-onnx reads from the file, and those of other programs under `augmem`."""
        described = self.model.description
        facts = {
            "features": described.features,
            "output_frame_shift": self.model.frame_shift,
            "frontend_delay": self.model.encoder.frontend_delay,
            "units_hash": described.units_hash,
            "topology": described.topology,
        }
        names = {"model_type": "zipformer2", "version": "1", "model_author": "augmem", "augmem": json.dumps(facts)}
        sizes = {
            "encoder_dims": _WIDTH, "query_head_dims": sum(self.sizes), "value_head_dims": 1, "num_heads": 1,
            "num_encoder_layers": 1, "cnn_module_kernels": 3, "left_context_len": 1,
            "T": self.step.window_frames, "decode_chunk_len": self.model.encoder.chunk_frames,
        }  # fmt: skip
        return names | {name: str(value) for name, value in sizes.items()}


def write_onnx_model(model: AcousticModel, path: Path) -> None:
    """Write the model for sherpa-onnx.

    Raises:
        UserError: a model that has no such step, or a package for ONNX is not installed.
    """
    check_packages()
    step = SherpaStep(model).eval()
    names, new = ("x", *_STATES), ("log_probs", *(f"new_{name}" for name in _STATES))
    axes = {**_batch_axes(""), **_batch_axes("new_"), "x": {0: "N"}, "log_probs": {0: "N"}}
    with atomic_path(path) as temporary:
        write_onnx(step, step.example(), temporary, names, new, axes)
        _add_metadata(temporary, step.metadata())


def write_int8(model: Path, path: Path) -> None:
    """Write a copy of an ONNX model whose matrices are int8; it multiplies in int8 too.

    Args:
        model: file of `write_onnx_model`.
        path: file to write.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    products = replace_gemm(model)
    with atomic_path(path) as temporary, _without_log():
        quantize_dynamic(products, temporary, op_types_to_quantize=["MatMul"], weight_type=QuantType.QUInt8)


def replace_gemm(path: Path) -> Any:
    """Read an ONNX model, and replace each product with a transposed weight (`Gemm`) by `MatMul` and `Add`.

    The quantiser does the same, but onnxruntime 1.23, the last release for CPython 3.10, transposes a weight that two
    nodes share for one of them only.

    Returns:
        the model, an `onnx.ModelProto`.
    """
    import onnx

    model = onnx.load(str(path))
    weights = {weight.name: weight for weight in model.graph.initializer}
    nodes = [part for node in _share_weights(model.graph.node, weights) for part in _split_gemm(node, weights)]
    for field, values in (("node", nodes), ("initializer", weights.values())):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(values)
    return model


def _share_weights(nodes: Sequence[Any], weights: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the nodes without those that copy a weight for a second use, which the quantiser would leave in float32."""
    original = {node.output[0]: node.input[0] for node in nodes if node.op_type == "Identity"}
    original = {copy: name for copy, name in original.items() if name in weights}
    for node in nodes:
        if node.output[0] not in original:
            node.input[:] = [original.get(name, name) for name in node.input]
            yield node


def _split_gemm(node: Any, weights: dict[str, Any]) -> list[Any]:
    """Return the nodes that replace a node; adds their transposed weight to `weights`."""
    from onnx import helper, numpy_helper

    options = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if node.op_type != "Gemm" or options != {"alpha": 1.0, "beta": 1.0, "transB": 1}:
        return [node]
    rows, weight, bias = node.input
    transposed, product = f"{weight}.transposed", f"{node.output[0]}.product"
    if transposed not in weights:
        weights[transposed] = numpy_helper.from_array(numpy_helper.to_array(weights[weight]).T.copy(), transposed)
    return [
        helper.make_node("MatMul", [rows, transposed], [product], f"{node.name}.product"),
        helper.make_node("Add", [product, bias], node.output, node.name),
    ]


@contextmanager
def _without_log() -> Iterator[None]:
    """Suppress the log of the quantiser, which lists each product of two activations."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def check_packages() -> None:
    """Raise UserError if the packages that write ONNX files are missing."""
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(f"this export needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def _batch_axes(prefix: str) -> dict[str, dict[int, str]]:
    """Return the axis of the streams of each state."""
    axes = {"state": 1, "steps": 0} | {name: place.axis for name, place in _PLACES.items()}
    return {f"{prefix}{name}": {axis: "N"} for name, axis in axes.items()}


def _add_metadata(path: Path, texts: Mapping[str, str]) -> None:
    import onnx

    loaded: Any = onnx.load(str(path))
    onnx.helper.set_model_props(loaded, dict(texts))
    onnx.save(loaded, str(path))
