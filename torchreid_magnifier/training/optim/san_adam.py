"""SAN's optimizer, which steps apart what identities teach and what textures teach."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ...checkpoint import unwrap
from ...models import ReIDModel

RECONSTRUCTION_BETAS = (0.5, 0.999)
_RECONSTRUCTION = "reconstruction"  # its key in the state dict


class SANAdam(Optimizer):
    """Two streams of steps, as SAN's reference implementation takes them.

    - Identity: the engine's losses step the backbone, ``fc`` and the classifier, with weight decay.
      Adam while the learning rate warms up, that is until it first reaches what the schedule
      started from (``initial_lr``); AMSGrad with fresh moments from then on.
    - Reconstruction: the decoder's losses step the backbone and the decoder, by Adam with a
      constant learning rate, ``model.separate_lr`` (there 1e-5), betas (0.5, 0.999) and no
      weight decay.

    Both gradients are taken at the weights before the step; a parameter that a stream's losses do
    not reach is not stepped by it. ``param_groups`` is the identity stream's one group: a schedule
    sets its learning rate and no other.

    A model without losses of its own (``san_encoder``) has the identity stream only, so that it is
    compared with the others under the same steps.

    Adam's steps hardly depend on the size of a gradient. With one optimizer for the sum of all
    losses, the texture would move the backbone in proportion to the size of its gradient; here it
    moves every weight by about that rate a step.

    Source: Jin et al., AAAI 2020, reference implementation (``main.py``), which steps the identity
    stream before it takes the other gradient, mixing old activations with new weights; torch
    refuses that since 1.5, and its gradient is within 8 % of this one.

    Args:
        model: one that has a ``separate_lr``, such as a SAN that learns identities; it may be
            wrapped. Its own losses come to this optimizer for as long as it lives
            (``ReIDModel.redirect_losses``).
        lr: of the identity stream; there 8e-4.
        weight_decay: of the identity stream; there 5e-4.
        betas: of the identity stream.

    Raises:
        ValueError: for a model of another kind; in ``load_state_dict`` for the state of another
            optimizer.
        RuntimeError: in ``step``, without the gradients of a new training batch.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float = 8e-4,
        weight_decay: float = 5e-4,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        model = unwrap(model)
        if not isinstance(model, ReIDModel) or model.separate_lr is None:
            raise ValueError(
                "The optimizer 'san_adam' steps identities and textures apart: it needs a SAN that "
                "learns identities, such as san, san_r18 or san_reconstruction, got a "
                f"{type(model).__name__} that does not (its separate_lr is None, as of san_pg). "
                "Take another optimizer, such as 'adam' or 'amsgrad'."
            )
        self._parameters = list(model.parameters())
        self._gradients: Sequence[Tensor | None] | None = None
        self._identity = Adam(self._parameters, lr=lr, betas=betas, weight_decay=weight_decay)
        self._reconstruction = Adam(
            self._parameters, lr=model.separate_lr, betas=RECONSTRUCTION_BETAS
        )
        self._expects_gradients = model.needs is not None
        model.redirect_losses(self)
        super().__init__(self._identity.param_groups, self._identity.defaults)
        self._show_identity_stream()

    @property
    def streams(self) -> tuple[Adam, Adam]:
        """Identity and reconstruction."""
        return self._identity, self._reconstruction

    def __call__(self, loss: Tensor) -> None:
        """Take the gradients of the model's own losses, in each training forward pass.

        Raises:
            ValueError: if parameters that they reach are frozen.
        """
        if not torch.is_grad_enabled():
            return
        if not all(parameter.requires_grad for parameter in self._parameters):
            raise ValueError(
                "The optimizer 'san_adam' steps the whole network, and some of its parameters are "
                "frozen: set train.fixbase_epoch 0, or take another optimizer."
            )
        self._gradients = torch.autograd.grad(
            loss, self._parameters, retain_graph=True, allow_unused=True
        )

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step of both streams, after a training forward pass and its backward pass.

        Raises:
            RuntimeError: if there was no forward pass since the last step.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradients, self._gradients = self._gradients, None
        if gradients is None and self._expects_gradients:
            raise RuntimeError(
                "The optimizer 'san_adam' found no gradients of the reconstruction: expected a "
                "forward pass of the model in training mode before every step."
            )
        (group,) = self.param_groups
        if not group["amsgrad"] and group["lr"] >= group.get("initial_lr", group["lr"]):
            group["amsgrad"] = True
            self._identity.state.clear()
        self._identity.step()
        if gradients is not None:
            self._step_reconstruction(gradients)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the identity stream's, and under ``reconstruction`` the other one's."""
        return {**self._identity.state_dict(), _RECONSTRUCTION: self._reconstruction.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what ``state_dict`` gave.

        Raises:
            ValueError: if it is of another optimizer, or of a model with other parameters.
        """
        if _RECONSTRUCTION not in state_dict:
            raise ValueError(
                "This is not the state of the optimizer 'san_adam': go on with the optimizer that "
                "the checkpoint was trained with, or begin anew from its weights "
                "(model.load_weights)."
            )
        identity = dict(state_dict)
        self._reconstruction.load_state_dict(identity.pop(_RECONSTRUCTION))
        self._identity.load_state_dict(identity)
        self._show_identity_stream()

    def _step_reconstruction(self, gradients: Sequence[Tensor | None]) -> None:
        of_identity = [parameter.grad for parameter in self._parameters]
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        self._reconstruction.step()
        for parameter, kept in zip(self._parameters, of_identity, strict=True):
            parameter.grad = kept

    def _show_identity_stream(self) -> None:
        """Let schedules and engines set and read the identity stream's own groups, not a copy."""
        self.param_groups = self._identity.param_groups
        self.state = self._identity.state
