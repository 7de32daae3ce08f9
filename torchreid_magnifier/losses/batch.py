"""Values of the whole batch, of which each process holds an equal share.

Losses average over the images of a process, ``DistributedDataParallel`` averages gradients over the
processes: for a mean over the images, both together are exact. What is no such mean takes the
whole batch's values from here. Without a process group (``torch.distributed``) nothing happens.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def process_count() -> int:
    """Return how many processes share a batch; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        mean = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(mean)
        return mean / dist.get_world_size()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return _Mean.apply(grad)


def mean_over_processes(tensor: Tensor) -> Tensor:
    """The mean of all processes' tensors of one shape and type, differentiable."""
    return _Mean.apply(tensor) if process_count() > 1 else tensor


class _WholeBatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, share: Tensor) -> Tensor:
        share = share.contiguous()
        shares = [torch.empty_like(share) for _ in range(dist.get_world_size())]
        dist.all_gather(shares, share)
        return torch.cat(shares)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        count = dist.get_world_size()
        return count * grad.chunk(count)[dist.get_rank()]


def whole_batch(share: Tensor) -> Tensor:
    """All processes' shares ``(N, ...)``, joined by rank: ``(processes * N, ...)``.

    For a loss that every process computes of the whole batch. Its gradient is passed on to this
    process's share alone, times the number of processes, by which the average over them divides.
    """
    return _WholeBatch.apply(share) if process_count() > 1 else share
