"""One layer of GRU or LSTM, with the parameters of torch's own, written out.

``torch.compile`` looks into no ``nn.GRU`` or ``nn.LSTM``, and cuDNN's want their weights in one
piece, which replicas of ``nn.DataParallel`` break up. Eight regions are a short sequence.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Recurrent(nn.Module):
    """Names, shapes and initialisation of the parameters are those of ``like``, one layer."""

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, like: nn.RNNBase) -> None:
        super().__init__()
        for name, parameter in like.named_parameters():
            self.register_parameter(name, parameter)

    def _of_inputs(self, sequence: Tensor) -> tuple[Tensor, ...]:
        """What the gates get of the inputs, for each step."""
        return F.linear(sequence, self.weight_ih_l0, self.bias_ih_l0).unbind(1)

    def _of_hidden(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.weight_hh_l0, self.bias_hh_l0)


class GRU(_Recurrent):
    """``nn.GRU(channels, channels, batch_first=True)``, its last output."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.GRU(channels, channels))

    def forward(self, sequence: Tensor) -> Tensor:
        """``(N, K, C)`` -> the state after K steps, ``(N, C)``."""
        state = torch.zeros_like(sequence[:, 0])
        for given in self._of_inputs(sequence):
            reset, update, new = given.chunk(3, 1)
            old_reset, old_update, old_new = self._of_hidden(state).chunk(3, 1)
            update = torch.sigmoid(update + old_update)
            new = torch.tanh(new + torch.sigmoid(reset + old_reset) * old_new)
            state = new + update * (state - new)
        return state


class LSTM(_Recurrent):
    """``nn.LSTM(channels, channels, batch_first=True)``, its last output."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.LSTM(channels, channels))

    def forward(self, sequence: Tensor) -> Tensor:
        """``(N, K, C)`` -> the hidden state after K steps, ``(N, C)``."""
        hidden = cell = torch.zeros_like(sequence[:, 0])
        for given in self._of_inputs(sequence):
            take, keep, new, show = (given + self._of_hidden(hidden)).chunk(4, 1)
            cell = torch.sigmoid(keep) * cell + torch.sigmoid(take) * torch.tanh(new)
            hidden = torch.sigmoid(show) * torch.tanh(cell)
        return hidden
