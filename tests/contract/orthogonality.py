"""A loss of one's own: neighbouring stripes should show different things."""

from torch import Tensor, nn
from torch.nn.functional import cosine_similarity


class OrthogonalityLoss(nn.Module):
    """Mean squared cosine of the features ``(N, K, C)`` of neighbouring stripes."""

    def forward(self, features: Tensor) -> Tensor:
        return cosine_similarity(features[:, :-1], features[:, 1:], dim=2).square().mean()
