"""Losses and weights that join the autograd graph, without an engine."""

import pytest
import torch

from torchreid_magnifier.losses import attach_losses, scale_gradient


def attach_loss(loss, carriers, scale=lambda: 1.0):
    return attach_losses([loss], carriers, lambda: [scale()])


def make_graph():
    weight = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    carriers = [weight * 3, weight.sum()]
    return weight, carriers, (weight**3).sum()  # d/dweight = 3 weight^2


def test_attached_loss_changes_gradients_and_no_values():
    weight, carriers, loss = make_graph()
    first, second = attach_loss(loss, carriers)
    assert torch.equal(first, carriers[0]) and torch.equal(second, carriers[1])
    (first.sum() + second).backward()
    assert torch.allclose(weight.grad, 3 + 1 + 3 * weight.detach() ** 2)


@pytest.mark.parametrize("used", [[0], [1], [0, 1]])
def test_attached_loss_counts_once_whichever_carriers_are_used(used):
    weight, carriers, loss = make_graph()
    attached = attach_loss(loss, carriers)
    (0 * sum(attached[i].sum() for i in used)).backward()
    assert torch.allclose(weight.grad, 3 * weight.detach() ** 2)


def test_unused_carrier_gives_its_parameters_no_gradient():
    used = torch.ones(2, requires_grad=True)
    unused = torch.ones(2, requires_grad=True)
    first, _ = attach_loss((used**2).sum(), [used * 1, unused * 1])
    first.sum().backward()
    assert unused.grad is None


def test_scale_is_asked_at_backward_time():
    weight, carriers, loss = make_graph()
    scale = {"value": 1.0}
    first, _ = attach_loss(loss, carriers, lambda: scale["value"])
    scale["value"] = 10.0
    (0 * first.sum()).backward()
    assert torch.allclose(weight.grad, 30 * weight.detach() ** 2)


def test_a_vector_of_losses_gets_a_gradient_for_each():
    weight, carriers, _ = make_graph()
    gradients = torch.tensor([2.0, 5.0], dtype=torch.float64)
    first, _ = attach_losses([weight**3, weight.sum()], carriers, lambda: [gradients, 0.5])
    (0 * first.sum()).backward()
    assert torch.allclose(weight.grad, 3 * weight.detach() ** 2 * gradients + 0.5)


def test_attaching_needs_a_carrier():
    with pytest.raises(ValueError, match="at least one carrier"):
        attach_loss(torch.zeros(()), [])


@pytest.mark.parametrize("weight", [0.0, 2.5, torch.tensor(2.5), lambda: torch.tensor(2.5)])
def test_scaled_gradient_keeps_the_value(weight):
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    y = scale_gradient(x, weight)
    assert torch.equal(y, x)
    (y * 2).sum().backward()
    assert torch.allclose(
        x.grad, torch.full_like(x, 2 * float(weight() if callable(weight) else weight))
    )
