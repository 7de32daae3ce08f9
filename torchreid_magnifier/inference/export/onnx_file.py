"""ONNX files: written by torch's exporter, run by onnxruntime. The one place that imports both."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from ...errors import needing
from ...hub.card import CARD_KEY, Card
from .program import INPUT, PICTURES, output_names, to_pictures
from .settings import Contents, ExportError, Run, Settings

OPSET = 18  # the oldest that torch's exporter writes, for the largest choice of runtimes
SUFFIX = ".onnx"
_NEEDED = "ONNX files need onnx, onnxscript and onnxruntime", "export", ExportError


def require(settings: Settings) -> None:
    """Check that such a file can be written here.

    Raises:
        ExportError: something is not installed, or there is no such opset.
    """
    newest = _onnx().defs.onnx_opset_version()
    _onnxruntime()
    opset = settings.opset
    if opset is not None and not OPSET <= opset <= newest:
        raise ExportError(f"expected an opset from {OPSET} to {newest}, got {opset}")


def contents(
    program: ExportedProgram, card: Card, settings: Settings, calibration: Sequence[Tensor] = ()
) -> Contents:
    """Return the content of an ONNX file, weights and card included.

    Args:
        program: of the network.
        card: for the file.
        settings: of the file.
        calibration: batches of images for ``int8``.

    Raises:
        ExportError: as ``require``, or torch has no way to write this opset.
    """
    require(settings)
    proto = plain(program, card, OPSET if settings.opset is None else settings.opset)
    if settings.precision == "float16":
        proto = _halved(proto)
    elif settings.precision == "int8":
        proto = _quantised(proto, calibration)
    for node in proto.graph.node:  # how torch came to it, paths of this machine among it
        del node.metadata_props[:]
    if settings.pictures:
        _take_pictures(proto, card)
    proto.metadata_props.add(key=CARD_KEY, value=card.to_json())
    return {SUFFIX: proto.SerializeToString()}


def plain(program: ExportedProgram, card: Card, opset: int) -> Any:
    """Return a program as ONNX, in float32 and for normalised images.

    Raises:
        ExportError: torch has no way to write this opset.
    """
    with _quiet():
        exported = torch.onnx.export(
            program,
            input_names=[INPUT],
            output_names=list(output_names(card)),
            opset_version=opset,
            dynamo=True,
            dynamic_shapes={INPUT: {0: "batch"}},
            external_data=False,
            verbose=False,
        )
    assert exported is not None
    proto: Any = exported.model_proto
    written = {entry.domain: entry.version for entry in proto.opset_import}[""]
    if written != opset:
        raise ExportError(
            f"torch {torch.__version__} writes this network with opset {written}, not with "
            f"{opset}: ask for {written}"
        )
    return proto


def read_card(files: Contents) -> str:
    """Return the card in a file's content, as JSON; an empty text if there is none."""
    options = _onnxruntime().SessionOptions()
    options.graph_optimization_level = _onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
    return _session(files, options).get_modelmeta().custom_metadata_map.get(CARD_KEY, "")


def runner(files: Contents, card: Card) -> Run:
    """Return a function that runs a file's content on the CPU, with torch's number of threads."""
    options = _onnxruntime().SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = _session(files, options)
    names = [output.name for output in session.get_outputs()]
    given = session.get_inputs()[0]
    pictures = given.type == "tensor(uint8)"

    def run(images: Tensor) -> dict[str, Tensor]:
        values = to_pictures(images, card) if pictures else images.contiguous()
        outputs = session.run(names, {given.name: values.numpy()})
        return {name: torch.from_numpy(output) for name, output in zip(names, outputs)}

    return run


def _session(files: Contents, options: Any) -> Any:
    options.log_severity_level = 3  # nothing of shapes that it finds out itself
    return _onnxruntime().InferenceSession(
        files[SUFFIX], options, providers=["CPUExecutionProvider"]
    )


def _halved(proto: Any) -> Any:
    """Numbers of half precision inside; what goes in and comes out stays as it is."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(proto, keep_io_types=True)


def _quantised(proto: Any, calibration: Sequence[Tensor]) -> Any:
    """Convolutions and products of 8-bit numbers, by the ranges that the images give rise to."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # it has no types
        def __init__(self) -> None:
            self.batches = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch.numpy()}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        whole, simple, small = (str(Path(folder, name)) for name in ("a", "b", "c"))
        _onnx().save(proto, whole)
        quant_pre_process(whole, simple, skip_symbolic_shape=True)
        quantization.quantize_static(
            simple,
            small,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add", "Mul", "GlobalAveragePool"],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return _onnx().load(small)


def _take_pictures(proto: Any, card: Card) -> None:
    """Put before the network what brings uint8 pictures (N, h, w, 3) of any size to its input.

    The resizing is Pillow's, antialiased: equal where pictures grow, and within one of 255 grey
    levels where they shrink.
    """
    onnx = _onnx()
    node, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    scale = 1 / (255 * np.array(card.std, np.float32))
    shift = -np.array(card.mean, np.float32) / np.array(card.std, np.float32)
    graph = proto.graph
    graph.initializer.extend(
        [
            tensor(np.array([card.height, card.width], np.int64), "pictures_size"),
            tensor(scale.reshape(1, 3, 1, 1), "pictures_scale"),
            tensor(shift.reshape(1, 3, 1, 1), "pictures_shift"),
        ]
    )
    front = [
        node(
            "Resize",
            [PICTURES, "", "", "pictures_size"],
            ["pictures_resized"],
            name="pictures_resize",
            mode="linear",
            antialias=1,
            exclude_outside=1,
            axes=[1, 2],
        ),
        node("Transpose", ["pictures_resized"], ["pictures_first"], perm=[0, 3, 1, 2]),
        node("Cast", ["pictures_first"], ["pictures_float"], to=onnx.TensorProto.FLOAT),
        node("Mul", ["pictures_float", "pictures_scale"], ["pictures_scaled"]),
        node("Add", ["pictures_scaled", "pictures_shift"], [INPUT]),
    ]
    rest = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*front, *rest])
    shape = ["batch", "height", "width", 3]
    graph.input.append(onnx.helper.make_tensor_value_info(PICTURES, onnx.TensorProto.UINT8, shape))


def _onnx() -> ModuleType:
    with needing(*_NEEDED):
        import onnx
        import onnxscript  # noqa: F401  torch's exporter needs it
    return onnx


def _onnxruntime() -> Any:
    with needing(*_NEEDED):
        import onnxruntime
    return onnxruntime


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the exporter logs of opsets, and the quantiser of itself."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "torch.onnx", None)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
