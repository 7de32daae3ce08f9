"""Parameters without weight decay."""

from collections.abc import Iterable

from torch import nn
from torch.optim import Optimizer


def without_decay(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    """Move parameters into groups without weight decay, all else as in the group they were in.

    Where a loss has the weight w, decay acts as one of 1 / w would on the loss alone. The groups
    come last, in the order of those that they are taken from. To be called before the first step.

    Args:
        optimizer: a new one.
        parameters: of the optimizer; others are passed over.
    """
    chosen = {id(parameter) for parameter in parameters}
    for group in list(optimizer.param_groups):
        apart = [parameter for parameter in group["params"] if id(parameter) in chosen]
        if apart:
            group["params"] = [p for p in group["params"] if id(p) not in chosen]
            optimizer.add_param_group({**group, "params": apart, "weight_decay": 0.0})
