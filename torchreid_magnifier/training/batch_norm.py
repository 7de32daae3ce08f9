"""Batch normalisation by the statistics of the whole batch."""

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..losses.batch import mean_over_processes
from ..losses.precision import widened


class CPUSyncBatchNorm(_BatchNorm):
    """torch's ``SyncBatchNorm`` on CPUs, which it does not compute on.

    All processes hold equally many images.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = widened(input)
        dims = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        mean = mean_over_processes(x.mean(dims))
        centred = x - mean.view(shape)
        variance = mean_over_processes(centred.square().mean(dims))
        self._track(mean.detach(), variance.detach(), x.numel() // x.shape[1])
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        output = centred * scale.view(shape)
        if self.bias is not None:
            output = output + self.bias.view(shape)
        return output.to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any: the layer that it replaces has its own."""

    def _track(self, mean: Tensor, variance: Tensor, share: int) -> None:
        """Take a batch into the running statistics, the variance as that of a sample."""
        if not self.track_running_stats:
            return
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None and self.running_var is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:
            momentum = 1 / int(self.num_batches_tracked)
        size = share * dist.get_world_size()
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_((variance * size / (size - 1)).to(self.running_var.dtype), momentum)


def synchronise_batch_norm(module: nn.Module) -> None:
    """Replace the batch normalisations inside ``module`` by synchronised ones.

    Their parameters and buffers stay the very same tensors under the same names.
    """
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, _synchronised(child))
        else:
            synchronise_batch_norm(child)


def _synchronised(layer: _BatchNorm) -> _BatchNorm:
    # torch's convert_sync_batchnorm takes BNNeck's shift, which is a buffer, for a parameter.
    on_cpu = all(tensor.device.type == "cpu" for tensor in layer.state_dict().values())
    made = (CPUSyncBatchNorm if on_cpu else nn.SyncBatchNorm)(
        layer.num_features,
        layer.eps,
        layer.momentum,
        layer.affine,
        layer.track_running_stats,
        device="meta",
    )
    for name in [*made._parameters, *made._buffers]:
        delattr(made, name)
    for name, parameter in layer._parameters.items():
        made.register_parameter(name, parameter)
    for name, buffer in layer._buffers.items():
        made.register_buffer(name, buffer)
    return made.train(layer.training)
