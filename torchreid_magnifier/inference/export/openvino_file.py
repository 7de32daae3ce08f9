"""OpenVINO's files, .xml and .bin: converted from ONNX. The one place that imports it and NNCF."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from ...errors import needing
from ...hub.card import CARD_KEY, Card
from . import onnx_file
from .program import INPUT, PICTURES, output_names, to_pictures
from .settings import Contents, ExportError, Run, Settings

SUFFIX, WEIGHTS = ".xml", ".bin"
_NEEDED = "OpenVINO's files need openvino, and of int8 nncf", "openvino", ExportError
_CARD = CARD_KEY.replace(".", "_")  # a path in its records has dots


def require(settings: Settings) -> None:
    """Check that such a file can be written here.

    Raises:
        ExportError: something is not installed, or an opset is given.
    """
    if settings.opset is not None:
        raise ExportError(f"an opset is for ONNX files, got {settings.opset}: leave it out")
    _openvino()
    if settings.precision == "int8":
        _nncf()
    onnx_file.require(settings)


def contents(
    program: ExportedProgram, card: Card, settings: Settings, calibration: Sequence[Tensor] = ()
) -> Contents:
    """Return the content of both files, weights and card included.

    Args:
        program: of the network.
        card: for the file.
        settings: of the file.
        calibration: batches of images for ``int8``.

    Raises:
        ExportError: as ``require``.
    """
    require(settings)
    ov = _openvino()
    proto = onnx_file.plain(program, card, onnx_file.OPSET)
    # openvino's convert_model would do, but it reports its use over the network.
    model = ov.Core().read_model(proto.SerializeToString(), b"")
    folding = ov.passes.Manager()  # as convert_model: half of the .xml, and a tenth of the time
    folding.register_pass(ov.passes.ConstantFolding())
    folding.run_passes(model)
    if settings.precision == "int8":
        model = _nncf().quantize(
            model,
            _nncf().Dataset([batch.numpy() for batch in calibration]),
            subset_size=len(calibration),
        )
    if settings.pictures:
        model = _with_pictures(model, card)
    model.set_rt_info(card.to_json(), [_CARD])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.xml")
        ov.save_model(model, path, compress_to_fp16=settings.precision == "float16")
        return {suffix: path.with_suffix(suffix).read_bytes() for suffix in (SUFFIX, WEIGHTS)}


def read_card(files: Contents) -> str:
    """Return the card in a file's content, as JSON; an empty text if there is none."""
    model = _read(files)
    return str(model.get_rt_info([_CARD]).value) if model.has_rt_info([_CARD]) else ""


def runner(files: Contents, card: Card) -> Run:
    """Return a function that runs a file's content on the CPU, with torch's number of threads."""
    model = _read(files)
    compiled = compile_model(model)
    names = output_names(card)
    pictures = model.input(0).element_type.to_string() in ("u8", "uint8_t")

    def run(images: Tensor) -> dict[str, Tensor]:
        values = to_pictures(images, card) if pictures else images.contiguous()
        outputs = compiled(values.numpy())
        return {name: torch.from_numpy(outputs[name].copy()) for name in names}

    return run


def compile_model(model: Any, numbers: str = "f32") -> Any:
    """Return a model for the CPU, with torch's number of threads.

    Args:
        model: of OpenVINO.
        numbers: ``f32``, or ``bf16``, which OpenVINO alone would take for float32 if it is faster.
    """
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": numbers,
    }
    return _openvino().Core().compile_model(model, "CPU", settings)


def _read(files: Contents) -> Any:
    return _openvino().Core().read_model(files[SUFFIX], files[WEIGHTS])


def _with_pictures(model: Any, card: Card) -> Any:
    """Put before the network what brings uint8 pictures (N, h, w, 3) of any size to its input."""
    ov = _openvino()
    preprocess = ov.preprocess
    steps = preprocess.PrePostProcessor(model)
    given = steps.input(INPUT)
    tensor = given.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    tensor.set_spatial_dynamic_shape()
    given.model().set_layout(ov.Layout("NCHW"))
    (
        given.preprocess()
        .resize(preprocess.ResizeAlgorithm.RESIZE_BILINEAR_PILLOW)
        .convert_element_type(ov.Type.f32)
        .mean([255 * value for value in card.mean])
        .scale([255 * value for value in card.std])
    )
    model = steps.build()
    model.input(0).get_tensor().set_names({PICTURES})
    return model


def _openvino() -> Any:
    with needing(*_NEEDED):
        import openvino
        import openvino.passes
        import openvino.preprocess
    return openvino


def _nncf() -> Any:
    os.environ.setdefault("NNCF_CI", "1")  # without it, nncf reports its use over the network
    with needing(*_NEEDED):
        import nncf
    return nncf
