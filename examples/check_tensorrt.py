"""Compare an engine of TensorRT with the ONNX file that it was built from, on drawn people.

It needs a GPU, and the Python package of TensorRT 10.12 or newer.

torchreid-magnifier export --precision float16 --out network.onnx
trtexec --onnx=network.onnx --stronglyTyped --saveEngine=network.plan \\
        --minShapes=images:1x3x256x128 --optShapes=images:16x3x256x128 \\
        --maxShapes=images:64x3x256x128
python examples/check_tensorrt.py network.onnx network.plan
"""

import sys
from pathlib import Path
from typing import Any

import torch

from torchreid_magnifier.inference.export.agreement import agree
from torchreid_magnifier.inference.export.parity import pedestrians
from torchreid_magnifier.inference.open import open_network


def engine_runner(path: str) -> Any:
    """A function that runs an engine on the first GPU: images -> its outputs by name."""
    import tensorrt as trt

    kinds = {trt.float32: torch.float32, trt.float16: torch.float16}
    kinds |= {trt.int64: torch.int64, trt.int32: torch.int32}
    engine = trt.Runtime(trt.Logger(trt.Logger.WARNING)).deserialize_cuda_engine(
        Path(path).read_bytes()
    )
    context = engine.create_execution_context()
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]

    def run(images: torch.Tensor) -> dict[str, torch.Tensor]:
        given = images.cuda().contiguous()
        context.set_input_shape(names[0], tuple(given.shape))
        context.set_tensor_address(names[0], given.data_ptr())
        found = {}
        for name in names[1:]:
            shape = tuple(context.get_tensor_shape(name))
            kind = kinds[engine.get_tensor_dtype(name)]
            found[name] = torch.empty(shape, dtype=kind, device="cuda")
            context.set_tensor_address(name, found[name].data_ptr())
        context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
        torch.cuda.synchronize()
        return {name: value.cpu() for name, value in found.items()}

    return run


def main(network: str, engine: str) -> None:
    """Print how far they agree; end with an error where they do not."""
    if not torch.cuda.is_available():
        sys.exit("this check needs a GPU with CUDA, and there is none here: nothing was checked")
    opened = open_network(network)
    people = pedestrians(opened.preprocessing, (1, 7, 16))
    agreement = agree(opened.model, engine_runner(engine), people)
    print(agreement)
    agreement.require("float16")


if __name__ == "__main__":
    main(*sys.argv[1:])
