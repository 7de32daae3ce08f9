"""For any optimizer: one kernel for a whole step, where torch has it; weight decay left out."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Optimizer


def use_fused(optimizer: Optimizer) -> None:
    """Let an optimizer take fused steps if torch has them for its class, device and version.

    To be called once the state to go on with is loaded: that of an unfused optimizer is taken over,
    and a fused one goes on unfused where there are no fused steps. Steps are the same within
    rounding.

    torch keeps ``fused`` with each group's options, and so in checkpoints. It is set there: the
    optimizer stays the one that a schedule holds.

    Args:
        optimizer: any; one that steps through others has them in its attribute ``streams``.
    """
    for stream in getattr(optimizer, "streams", (optimizer,)):
        _use_fused(stream)


def _use_fused(optimizer: Optimizer) -> None:
    groups = optimizer.param_groups
    devices = {parameter.device for group in groups for parameter in group["params"]}
    fused = all(_offers_fused(type(optimizer), device) for device in devices)
    for group in groups:
        if bool(group.get("fused")) == fused:
            continue
        group["fused"] = fused
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if "step" in state:  # a fused step counts on the device, any other on the CPU
                device = parameter.device if fused else torch.device("cpu")
                state["step"] = state["step"].to(device, torch.float32)


def _offers_fused(optimizer_class: type[Optimizer], device: torch.device) -> bool:
    """Return whether a fused step of one number can be taken."""
    number = torch.zeros(1, device=device, requires_grad=True)
    number.grad = torch.zeros_like(number)
    try:
        optimizer_class([number], lr=1.0, fused=True).step()  # type: ignore[call-arg]
    except (TypeError, RuntimeError):  # no such option; not on this device
        return False
    return True


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
