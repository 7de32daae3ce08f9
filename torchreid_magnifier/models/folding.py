"""Networks for inference alone: batch norm folded, sums and ReLUs done along with convolutions.

What remains of a backbone is its convolutions, whose arithmetic is the floor. On the CPU they go
to oneDNN directly, with weights in the layout that it prefers: ``torch.nn`` would lay them out
anew at every call, and pass over each result again for the sum and the ReLU.
"""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck

Module = TypeVar("Module", bound=nn.Module)
_TOLERANCE = 1e-2


def optimized(model: Module, dtype: torch.dtype, run: Callable[[Module], Tensor]) -> Module:
    """Return a copy of ``model`` that computes the same and cannot be trained.

    A network that cannot be folded without a larger difference than 1 % of the largest value stays
    as it is.

    Args:
        model: in evaluation mode.
        dtype: of the convolutions.
        run: ``run(model)`` computes some result, of images of any size and values: what follows
            what is seen in it.

    Raises:
        ValueError: ``model`` is in training mode, or has weights that are not finite, which oneDNN
            would hide: its ReLU of NaN is 0.
    """
    if model.training:
        raise ValueError("optimize_for_inference is for evaluation: call model.eval() first.")
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise ValueError(f"The weights of this network are of no use: {name} is not finite.")
    result = copy.deepcopy(model).requires_grad_(False)
    with torch.no_grad():
        expected = run(result)
        _fuse_blocks(result, dtype)
        _fold_batch_norms(result, dtype, run)
        error = (run(result) - expected).abs().max()
    if error > _TOLERANCE * expected.abs().max():
        return copy.deepcopy(model).requires_grad_(False)
    return result


def _fuse_blocks(module: nn.Module, dtype: torch.dtype) -> None:
    """The residual blocks of ResNets, with their sums and ReLUs."""
    for index, (name, child) in enumerate(module.named_children()):
        if isinstance(child, BasicBlock | Bottleneck):
            follows = isinstance(module, nn.Sequential) and index > 0
            setattr(module, name, FusedBlock(child, dtype, overwrite=follows))
        else:
            _fuse_blocks(child, dtype)


def _fold_batch_norms(model: Module, dtype: torch.dtype, run: Callable[[Module], Tensor]) -> None:
    """Every other batch norm that is seen to take what one convolution gives."""
    outputs: list[tuple[Tensor, Any]] = []  # kept, so that no other tensor takes their place
    pairs: list[tuple[Any, Any]] = []

    def see(module: nn.Module, given: Any, output: Tensor) -> None:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            outputs.append((output, module))
        elif type(module) is nn.BatchNorm2d:
            pairs.extend((conv, module) for seen, conv in outputs if seen is given[0])

    hooks = [module.register_forward_hook(see) for module in model.modules()]
    run(model)
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in model.named_modules()}
    called = [conv for _, conv in outputs]
    for conv, norm in pairs:
        if called.count(conv) > 1 or [n for _, n in pairs].count(norm) > 1:
            continue
        if isinstance(conv, nn.Conv2d):
            folded: nn.Module = FusedConv2d(conv, norm, dtype, relu=False)
        else:
            folded = fuse_conv_bn_eval(conv, norm, transpose=True)
            folded.to(dtype).to(memory_format=torch.channels_last)
        for old, new in ((conv, folded), (norm, nn.Identity())):
            parent, _, child = names[old].rpartition(".")
            setattr(model.get_submodule(parent), child, new)


class FusedConv2d(nn.Module):
    """A convolution with its batch norm folded in, and what follows it.

    Args:
        conv, bn: what is fused.
        dtype: of the weights; what comes in is brought to it.
        relu: whether a ReLU follows.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, bn: nn.BatchNorm2d, dtype: torch.dtype, relu: bool) -> None:
        super().__init__()
        fused: Any = fuse_conv_bn_eval(conv, bn)
        weight = fused.weight.to(dtype=dtype, memory_format=torch.channels_last)
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", fused.bias.to(dtype).detach())
        self.geometry: tuple[Any, ...] = (conv.stride, conv.padding, conv.dilation, conv.groups)
        self.relu = relu
        self._packed: Tensor | None = None
        self._packed_for: torch.Size | None = None

    def forward(self, x: Tensor, other: Tensor | None = None, overwrite: bool = False) -> Tensor:
        """``(N, C, H, W)`` -> convolution, plus ``other``, then the ReLU: ``(N, D, h, w)``.

        ``overwrite``: whether the result may take the memory of ``other``.
        """
        x = x.to(dtype=self.weight.dtype, memory_format=torch.channels_last)
        if _has_onednn(x):
            return self._by_onednn(x, other, overwrite)
        stride, padding, dilation, groups = self.geometry
        y = F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
        if other is not None:
            y += other
        return y.relu_() if self.relu else y

    def _by_onednn(self, x: Tensor, other: Tensor | None, overwrite: bool) -> Tensor:
        stride, padding, dilation, groups = self.geometry
        if self._packed_for != x.shape:  # the best layout depends on it
            reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
            self._packed = reorder(
                self.weight.to_mkldnn(),  # type: ignore[operator]
                *(padding, stride, dilation, groups, list(x.shape)),
            )
            self._packed_for = x.shape
        given = (self._packed, self.bias, padding, stride, dilation, groups)
        ops = torch.ops.mkldnn
        relu = "relu" if self.relu else None
        if other is None:
            return ops._convolution_pointwise(x, *given, relu or "none", [], "")
        then: tuple[Any, ...] = ("add", 1.0, relu, [], "")
        if overwrite:
            return ops._convolution_pointwise_.binary(other, x, *given, *then)
        return ops._convolution_pointwise.binary(x, other, *given, *then)

    def train(self, mode: bool = True) -> "FusedConv2d":
        if mode:
            raise ValueError(
                "This network was optimised for inference and has nothing left to train: train "
                "the one that it was made from."
            )
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        """oneDNN's tensors are opaque: a copy lays its weights out itself."""
        return {**self.__dict__, "_packed": None, "_packed_for": None}


class FusedBlock(nn.Module):
    """A residual block of ResNet-18 or ResNet-50: each pass over the data is a convolution.

    Args:
        block: what is fused.
        dtype: of the weights.
        overwrite: whether the result may take the memory of the input.
    """

    def __init__(self, block: Any, dtype: torch.dtype, overwrite: bool) -> None:
        super().__init__()
        pairs = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
        if isinstance(block, Bottleneck):
            pairs.append((block.conv3, block.bn3))
        self.convs = nn.ModuleList(FusedConv2d(*pair, dtype, relu=True) for pair in pairs)
        self.shortcut = (
            None
            if block.downsample is None
            else FusedConv2d(block.downsample[0], block.downsample[1], dtype, relu=False)
        )
        self._overwrite = overwrite or self.shortcut is not None

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` -> ``(N, D, h, w)``."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        *first, last = self.convs
        for conv in first:
            x = conv(x)
        return last(x, shortcut, self._overwrite)


def _has_onednn(x: Tensor) -> bool:
    mkldnn: Any = torch.backends.mkldnn
    if x.device.type != "cpu" or not mkldnn.is_available():
        return False
    if x.dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return x.dtype == torch.float32
