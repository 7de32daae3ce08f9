"""ONNX files: written by torch's exporter, run by onnxruntime. The one place that imports both."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from ...hub.card import CARD_KEY, Card
from .errors import ExportError
from .parity import Run
from .program import INPUT, output_names

OPSET = 18  # the oldest that torch's exporter writes, for the largest choice of runtimes


def require(opset: int | None) -> None:
    """Check that such a file can be written here.

    Raises:
        ExportError: something is not installed, or there is no such opset.
    """
    newest = _libraries()[0].defs.onnx_opset_version()
    if opset is not None and not OPSET <= opset <= newest:
        raise ExportError(f"expected an opset from {OPSET} to {newest}, got {opset}")


def to_bytes(program: ExportedProgram, card: Card, opset: int | None) -> bytes:
    """Return the content of an ONNX file, weights and card included.

    Raises:
        ExportError: as ``require``, or torch has no way to write this opset.
    """
    require(opset)
    opset = OPSET if opset is None else opset
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
    proto = exported.model_proto
    written = {entry.domain: entry.version for entry in proto.opset_import}[""]
    if written != opset:
        raise ExportError(
            f"torch {torch.__version__} writes this network with opset {written}, not with "
            f"{opset}: ask for {written}"
        )
    for node in proto.graph.node:  # how torch came to it, paths of this machine among it
        del node.metadata_props[:]
    proto.metadata_props.add(key=CARD_KEY, value=card.to_json())
    return proto.SerializeToString()


def read_card(data: bytes) -> str:
    """Return the card in a file's content, as JSON; an empty text if there is none."""
    proto = _libraries()[0].load_from_string(data)
    return {entry.key: entry.value for entry in proto.metadata_props}.get(CARD_KEY, "")


def runner(data: bytes) -> Run:
    """Return a function that runs a file's content on the CPU, with torch's number of threads."""
    onnxruntime = _libraries()[1]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: Tensor) -> dict[str, Tensor]:
        outputs = session.run(names, {INPUT: images.contiguous().numpy()})
        return {name: torch.from_numpy(output) for name, output in zip(names, outputs)}

    return run


def _libraries() -> tuple[ModuleType, Any]:
    """Return the modules onnx and onnxruntime."""
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise ExportError(
            f"ONNX files need onnx, onnxscript and onnxruntime ({error}): pip install "
            '"torchreid-magnifier[export]"'
        ) from error
    return onnx, onnxruntime


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the exporter logs of opsets: which one was written is checked."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
