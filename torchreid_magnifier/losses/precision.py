"""Half precision, widened where its rounding would show."""

import torch
from torch import Tensor


def widened(tensor: Tensor) -> Tensor:
    """Return half precision as float32: everything after the convolutions is computed there."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
